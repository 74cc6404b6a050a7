import dataclasses

import numpy as np
import pytest
import torch

from pad.expert import Expert, ExpertConfig
from pad.replay_buffer import ReplayBuffer
from pad.sac import SACConfig
from pad.training.learners import StateLearner

CONFIG = ExpertConfig(
    steps=200, random_steps=0, batch_size=8, hidden=8, final_learning_rate=1e-4, sac=SACConfig(learning_rate=1e-2)
)


@pytest.fixture
def replay():
    buffer, rng = ReplayBuffer(100, (3,), 2, dtype=np.float32), np.random.default_rng(0)
    buffer.begin(rng.normal(size=3).astype(np.float32))
    for _ in range(20):
        buffer.append(rng.uniform(-1, 1, 2), 1.0, False, rng.normal(size=3).astype(np.float32))
    return buffer


def learner_of(config: ExpertConfig) -> StateLearner:
    torch.manual_seed(0)
    return StateLearner(Expert(3, 2, 8), 2, config)


def rates(learner: StateLearner) -> list[float]:
    return [learner.state_dict()["optimizers"][name]["param_groups"][0]["lr"] for name in ("actor", "critic")]


def test_actor_and_critic_learn_in_ever_smaller_steps_and_the_temperature_as_before(replay):
    learner, met = learner_of(CONFIG), []
    for _ in range(CONFIG.steps):
        learner.update(replay)
        met.append(rates(learner))
    actor, critic = np.transpose(met)
    assert np.array_equal(actor, critic)
    assert np.all(np.diff(actor) <= 0)
    assert actor[0] == 1e-2
    assert actor[100] == pytest.approx((1e-2 + 1e-4) / 2)
    assert actor[-1] == pytest.approx(1e-4, rel=0.1)
    temperature = learner.state_dict()["optimizers"]["temperature"]["param_groups"][0]
    assert temperature["lr"] == CONFIG.sac.temperature_learning_rate


def test_a_learner_that_goes_on_has_the_step_size_that_it_left_off_with(replay):
    straight, left_off = learner_of(CONFIG), learner_of(CONFIG)
    for _ in range(50):
        straight.update(replay)
        left_off.update(replay)
    resumed = learner_of(CONFIG)
    resumed.load_state_dict(left_off.state_dict())
    for learner in (straight, resumed):
        learner.update(replay)
    assert rates(resumed) == rates(straight) != rates(learner_of(CONFIG))


def test_the_entropy_that_the_temperature_holds_falls_in_a_straight_line(replay):
    config = dataclasses.replace(CONFIG, final_learning_rate=None, final_target_entropy=-3.0)
    learner, met = learner_of(config), []
    for _ in range(CONFIG.steps):
        learner.update(replay)
        met.append(learner._sac.temperature.target_entropy)
    assert met[0] == -1.0 * 2
    assert met[100] == pytest.approx(-2.0 * 2)
    assert met[-1] == pytest.approx(-3.0 * 2, abs=0.1)
    assert np.all(np.diff(met) <= 0)
    assert rates(learner) == [1e-2, 1e-2]


def test_what_falls_may_begin_to_later(replay):
    learner, met = learner_of(dataclasses.replace(CONFIG, final_target_entropy=-3.0, decay_start=0.6)), []
    for _ in range(CONFIG.steps):
        learner.update(replay)
        met.append((rates(learner)[0], learner._sac.temperature.target_entropy / 2))
    assert met[119] == (1e-2, -1.0)
    assert met[160] == (pytest.approx((1e-2 + 1e-4) / 2), pytest.approx(-2.0))
    assert met[-1][0] < 2e-4
    with pytest.raises(ValueError, match="decay_start of the expert must be at least 0 and below 1, got 1"):
        ExpertConfig(decay_start=1.0)


def test_a_learner_that_seeks_less_entropy_ends_surer(replay):
    entropies = {}
    for final in (None, -8.0):
        sac = SACConfig(learning_rate=1e-2, temperature_learning_rate=1e-1)
        learner = learner_of(dataclasses.replace(CONFIG, final_learning_rate=None, final_target_entropy=final, sac=sac))
        met = [learner.update(replay) for _ in range(CONFIG.steps)]
        entropies[final] = np.mean([metrics["entropy"] for metrics in met if "entropy" in metrics][-20:])
    assert entropies[-8.0] < entropies[None] - 1


def test_by_default_steps_stay_as_large_as_they_are(replay):
    learner = learner_of(dataclasses.replace(CONFIG, final_learning_rate=None))
    for _ in range(20):
        learner.update(replay)
    assert rates(learner) == [1e-2, 1e-2]


@pytest.mark.parametrize(("rate", "shown"), [(0.0, "0.0"), (-1e-3, "-0.001")])
def test_a_step_size_that_is_not_positive_is_refused(rate, shown):
    with pytest.raises(ValueError, match=f"final_learning_rate of the expert must be positive, got {shown}"):
        ExpertConfig(final_learning_rate=rate)


def test_what_falls_ends_with_the_steps_though_the_first_were_random(replay):
    random = CONFIG.steps // 2
    learner = learner_of(dataclasses.replace(CONFIG, random_steps=random, final_target_entropy=-3.0, decay_start=0.9))
    for _ in range(CONFIG.steps - random):
        learner.update(replay)
    assert rates(learner)[0] < 5e-4
    assert learner._sac.temperature.target_entropy == pytest.approx(-3.0 * 2, abs=0.5)
