"""Experience under goals drawn anew, and episodes that are cut short to learn from more beginnings."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import make_agent, make_gradient_env
from test_training import CLONE_TINY

import envs
from envs import EnvConfig
from pad.expert import ExpertConfig
from pad.training import make_phases
from pad.training.goals import GoalRelabelling
from pad.types import Batch


@pytest.mark.parametrize("task", ["finger_turn_easy", "finger_turn_hard"])
def test_states_under_another_goal_are_those_that_the_simulator_would_tell(task):
    env = envs.make(EnvConfig(task=task), observation="state")
    simulated = env.unwrapped._env
    states, nexts = [], []
    obs, _ = env.reset(seed=1)
    env.action_space.seed(1)
    for _ in range(3):
        next_obs, *_ = env.step(env.action_space.sample())
        states.append(obs)
        nexts.append(next_obs)
        obs = next_obs
    redrawn, next_redrawn, _ = env.unwrapped.goals.redraw(np.stack(states), np.stack(nexts), np.random.default_rng(0))
    hinge = simulated.physics.named.data.xanchor["hinge", ["x", "z"]]
    for target in redrawn[:, 9:11]:
        assert np.linalg.norm(target) == pytest.approx(np.linalg.norm(obs[9:11]), abs=1e-6)
    assert len(np.unique(redrawn[:, 9])) == 3
    simulated.physics.named.model.site_pos["target", ["x", "z"]] = hinge + next_redrawn[-1, 9:11]
    simulated.physics.forward()
    told = simulated.task.get_observation(simulated.physics)
    told = np.concatenate([np.ravel(part) for part in told.values()])
    told[7:9] = obs[7:9]  # a simulator that did not step tells other forces of touch
    assert next_redrawn[-1] == pytest.approx(told, abs=1e-5)
    assert np.array_equal(redrawn[:, :9], np.stack(states)[:, :9])


@pytest.mark.parametrize("task", ["finger_turn_easy", "finger_turn_hard"])
def test_the_reward_under_another_goal_is_the_simulators_for_the_state_that_came_of_it(task):
    env = envs.make(EnvConfig(task=task), observation="state")
    simulated = env.unwrapped._env
    env.reset(seed=1)
    env.action_space.seed(1)
    reached, *_ = env.step(env.action_space.sample())
    # It began with the tip at the other end, where no target counts.
    before = reached.copy()
    radius = np.linalg.norm(reached[9:11] - reached[2:4]) - reached[11]
    before[2:4] *= -1
    before[11] = np.linalg.norm(before[9:11] - before[2:4]) - radius
    _, redrawn, reward = env.unwrapped.goals.redraw(
        np.repeat(before[None], 100, axis=0), np.repeat(reached[None], 100, axis=0), np.random.default_rng(0)
    )
    hinge = simulated.physics.named.data.xanchor["hinge", ["x", "z"]]
    for state, told in zip(redrawn, reward, strict=True):
        simulated.physics.named.model.site_pos["target", ["x", "z"]] = hinge + state[9:11]
        simulated.physics.forward()
        assert told == env.unwrapped.config.steps_per_decision * simulated.task.get_reward(simulated.physics)
    assert 0 < np.count_nonzero(reward) < 50


def test_goals_that_are_drawn_anew_are_reached_as_often_as_their_size_says():
    env = envs.make(EnvConfig(task="finger_turn_easy"), observation="state")
    obs, _ = env.reset(seed=1)
    many = np.repeat(obs[None], 4000, axis=0)
    _, _, reward = env.unwrapped.goals.redraw(many, many, np.random.default_rng(0))
    # A chord of 0.07 on a circle of 0.13.
    assert np.mean(reward > 0) == pytest.approx(4 * np.arcsin(0.07 / 0.26) / (2 * np.pi), abs=0.02)
    assert set(reward) == {0.0, 2.0}


@pytest.mark.parametrize("task", ["finger_spin", "walker_walk"])
def test_tasks_without_such_goals_tell_none(task):
    assert envs.make(EnvConfig(task=task), observation="state").unwrapped.goals is None


class Marked:
    """Goals that leave their mark."""

    def redraw(self, states, next_states, rng):
        draws = rng.uniform(10, 20, len(states)).astype(np.float32)
        return states + draws[:, None], next_states + draws[:, None], draws


def batch_of(size: int) -> Batch:
    return Batch(torch.zeros(size, 3), torch.zeros(size, 1), torch.zeros(size), torch.zeros(size, dtype=torch.bool),
                 torch.ones(size, 3))  # fmt: skip


@pytest.mark.parametrize(("share", "redrawn"), [(0.25, 2), (0.5, 4), (1.0, 8)])
def test_a_share_of_the_batch_has_other_goals_and_the_rest_its_own(share, redrawn):
    before = batch_of(8)
    after = GoalRelabelling(Marked(), share, seed=0)(before)
    assert after.obs[:redrawn].min() >= 10
    assert torch.equal(after.reward[:redrawn], after.obs[:redrawn, 0])
    assert torch.equal(after.next_obs[:redrawn], after.obs[:redrawn] + 1)
    for name in ("obs", "reward", "next_obs"):
        assert torch.equal(getattr(after, name)[redrawn:], getattr(before, name)[redrawn:])
    assert before.obs.max() == 0


def make_goal_env(observation="pixels"):
    env = make_gradient_env(observation)
    env.unwrapped.goals = Marked()
    return env


def expert_phase(folder, make_env=make_goal_env, **settings):
    torch.manual_seed(0)
    config = dataclasses.replace(CLONE_TINY, expert=dataclasses.replace(CLONE_TINY.expert, **settings))
    return make_phases(make_agent(critic=False), make_env, config, 0, folder)[0]


def run(phase, number: int) -> None:
    torch.manual_seed(number)  # the trainer keeps PyTorch's generator, a phase its own
    phase.run_episode(lambda _: None)


def test_an_expert_that_is_resumed_draws_the_goals_that_it_would_have_drawn(tmp_path):
    settings = {"redrawn_goals": 0.5, "random_steps": 5}
    one, other = expert_phase(tmp_path / "one", **settings), expert_phase(tmp_path / "other", **settings)
    run(one, 0), run(one, 1)
    run(other, 0)
    state = other.state_dict()
    other.flush()
    resumed = expert_phase(tmp_path / "other", **settings)
    resumed.load_state_dict(state)
    run(resumed, 1)
    expected = one.state_dict()["networks"]
    found = resumed.state_dict()["networks"]
    assert all(value.equal(found[name]) for name, value in expected.items())
    untouched = expert_phase(tmp_path / "untouched", random_steps=5)
    run(untouched, 0), run(untouched, 1)
    assert not all(value.equal(expected[name]) for name, value in untouched.state_dict()["networks"].items())


def test_goals_need_an_environment_that_tells_them(tmp_path):
    with pytest.raises(ValueError, match="redrawn_goals need an environment that tells its goals"):
        expert_phase(tmp_path, make_gradient_env, redrawn_goals=0.5)


def test_an_episode_of_the_experts_training_is_cut_short_and_the_next_begins_elsewhere(tmp_path):
    phase = expert_phase(tmp_path, max_episode_steps=3)
    told = []
    for _ in range(4):
        phase.run_episode(told.append)
    assert phase.done == len(told) == 12
    batch = phase._replay.sample(64)
    assert not batch.terminated.any()
    beginnings = phase._replay._arrays["frame"][:16][phase._replay._arrays["step"][:16] == 0]
    assert len(np.unique(beginnings, axis=0)) == 4


def test_an_episode_that_a_clone_learns_from_is_cut_short_too(tmp_path):
    clone = dataclasses.replace(CLONE_TINY.clone, max_episode_steps=3)
    phase = make_phases(make_agent(critic=False), make_gradient_env, dataclasses.replace(CLONE_TINY, clone=clone), 0,
                        tmp_path)[1]  # fmt: skip
    for episodes in range(1, 4):
        phase.run_episode(lambda _: None)
        assert len(phase._replay) == 3 * episodes
    assert not phase._replay.sample(16).terminated.any()


@pytest.mark.parametrize("settings", [{"redrawn_goals": 1.5}, {"redrawn_goals": -0.1}, {"max_episode_steps": 0}])
def test_settings_that_make_no_sense_are_refused(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=name):
        ExpertConfig(**settings)
