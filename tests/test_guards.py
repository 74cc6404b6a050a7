import dataclasses
import gc
import math
import os
import subprocess
import sys
import warnings
import weakref
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from conftest import make_agent, with_fields

from envs.gradient import make_gradient_env
from pad.deployment import (
    ADAPTATIONS,
    NO_GUARDS,
    AdaptationConfig,
    AdaptivePolicy,
    AgentModel,
    Camera,
    FrozenPolicy,
    GuardConfig,
    as_model,
)
from pad.deployment.calibrator import calibrate
from pad.deployment.guards import PATIENCE, TRIAL_PATIENCE, DriftGuard, FailureGuard, FrameGuard, Trial
from pad.deployment.intake import LONG_BLIND
from pad.evaluation import run_episode

ROOT = Path(__file__).parents[1]
CAMERA = Camera((9, 24, 24))
LEARNING = AdaptationConfig(learning_rate=1e-3, batch_size=4, memory=8, guards=NO_GUARDS)


def guarded(config: AdaptationConfig = LEARNING, **guards) -> AdaptationConfig:
    return dataclasses.replace(config, guards=dataclasses.replace(NO_GUARDS, **guards))


def scene(shift: int = 0, seed: int = 0) -> np.ndarray:
    """A picture with structure, moved by some pixels."""
    coarse = np.random.default_rng(seed).integers(256, size=(3, 6, 6)).repeat(8, 1).repeat(8, 2)
    frame = coarse[:, shift : shift + 24, shift : shift + 24]
    return np.concatenate([frame] * 3).astype(np.uint8)


def stream(guard: FrameGuard, count: int = 10) -> None:
    """Show the guard some frames that move a little."""
    for step in range(count):
        assert guard.check(scene((0, 1, 2, 1)[step % 4])) is None


class TestFrames:
    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (None, "type"),
            ([1, 2], "type"),
            (np.zeros((9, 24, 23), np.uint8), "shape"),
            (np.zeros((9, 24, 24), np.float32), "dtype"),
            (np.zeros((9, 24, 24), np.uint8), "constant"),
            (np.full((9, 24, 24), 255, np.uint8), "constant"),
            (np.random.default_rng(1).integers(256, size=(9, 24, 24)).astype(np.uint8), "sudden"),
        ],
    )
    def test_what_no_working_camera_sends_is_told_with_its_reason(self, bad, reason):
        guard = FrameGuard([CAMERA])
        stream(guard)
        assert guard.check(bad) == reason
        assert guard.check(scene(1)) is None

    def test_one_black_frame_in_a_stack_is_enough(self):
        guard, obs = FrameGuard([CAMERA]), scene()
        obs[3:6] = 0
        assert guard.check(obs) == "constant"

    def test_a_picture_of_one_colour_shows_nothing_although_its_channels_differ(self):
        obs = np.zeros((9, 24, 24), np.uint8)
        obs[[1, 4, 7]] = 200
        assert FrameGuard([CAMERA]).check(obs) == "constant"

    def test_numbers_that_are_none_are_told_in_float_pictures(self):
        guard = FrameGuard([Camera((3, 8, 8), dtype="float32", low=0.0, high=1.0)])
        obs = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
        assert guard.check(obs) is None
        obs[0, 0, 0] = np.nan
        assert guard.check(obs) == "not_finite"

    def test_a_scene_that_changes_and_stays_is_taken_after_one_decision(self):
        guard = FrameGuard([CAMERA])
        stream(guard)
        assert guard.check(scene(0, seed=7)) == "sudden"
        assert guard.check(scene(1, seed=7)) is None
        assert guard.check(scene(2, seed=7)) is None

    def test_noise_that_never_ends_is_taken_for_what_it_is(self):
        guard, rng = FrameGuard([CAMERA]), np.random.default_rng(0)
        stream(guard)
        faults = [guard.check(rng.integers(256, size=(9, 24, 24)).astype(np.uint8)) for _ in range(PATIENCE + 1)]
        assert faults == ["sudden"] * PATIENCE + [None]

    def test_single_frames_of_noise_are_told_again_after_noise_that_was_taken_for_a_scene(self):
        guard, rng = FrameGuard([CAMERA]), np.random.default_rng(0)

        def noise():
            return rng.integers(256, size=(9, 24, 24)).astype(np.uint8)

        stream(guard)
        for _ in range(PATIENCE + 2):
            guard.check(noise())
        caught = []
        for step in range(400):
            glitch = step % 25 == 24
            fault = guard.check(noise() if glitch else scene((0, 1, 2, 1)[step % 4]))
            if glitch:
                caught.append(fault)
        assert caught[2:] == ["sudden"] * 14

    def test_a_scene_in_which_every_frame_differs_is_soon_taken_for_what_it_is(self):
        guard, rng = FrameGuard([CAMERA]), np.random.default_rng(0)
        stream(guard, 40)
        faults = [guard.check(rng.integers(256, size=(9, 24, 24)).astype(np.uint8)) for _ in range(40)]
        assert faults[PATIENCE:] == [None] * (40 - PATIENCE)

    @pytest.mark.parametrize("rest", [10, 30])
    def test_a_camera_that_begins_to_move_after_a_rest_is_not_broken(self, rest):
        guard, speed, place = FrameGuard([CAMERA]), 0.0, 0.0
        wide = np.random.default_rng(0).integers(256, size=(3, 24, 40)).repeat(12, 2).astype(np.float64)
        smooth = np.stack([np.convolve(row, np.ones(12) / 12, "same") for row in wide.reshape(72, -1)]).reshape(
            3, 24, -1
        )
        steps, before, faults = [], None, []
        for moment in range(rest + 12):
            speed += 0.5 if moment >= rest else 0.0
            place += speed
            frame = smooth[:, :, int(place) : int(place) + 24].astype(np.uint8)
            steps.append(0.0 if before is None else np.abs(frame.astype(float) - before).mean() / 255)
            before = frame.astype(float)
            faults.append(guard.check(np.concatenate([frame] * 3)))
        assert max(steps) > 0.08
        assert faults == [None] * len(faults)

    def test_an_observation_that_is_not_the_newest_leaves_no_trace(self):
        guard = FrameGuard([CAMERA])
        stream(guard)
        assert guard.check(scene(0, seed=7), remember=False) is None
        assert guard.check(np.zeros((9, 24, 24), np.uint8), remember=False) == "constant"
        assert guard.check(scene(1)) is None

    def test_the_first_frame_of_an_episode_may_look_like_anything(self):
        guard = FrameGuard([CAMERA])
        stream(guard)
        guard.reset()
        assert guard.check(scene(0, seed=7)) is None


class TestTrial:
    def test_it_accepts_what_is_better_over_its_last_transitions(self):
        trial, zero = Trial(3, None), np.zeros(2)
        verdicts = [trial.add(1.0, loss, zero, zero) for loss in (2.0, 0.5, 1.2, 0.5)]
        assert verdicts == [None, None, None, "accepted"]

    @pytest.mark.parametrize("loss", [1.1, 1.0, math.nan])
    def test_it_gives_up_what_is_not_better_for_long(self, loss):
        trial = Trial(2, None)
        verdicts = [trial.add(1.0, loss, np.zeros(2), np.zeros(2)) for _ in range(2 * TRIAL_PATIENCE)]
        assert verdicts == [None] * (2 * TRIAL_PATIENCE - 1) + ["worse"]

    def test_it_does_not_accept_actions_that_jump(self):
        assert Trial(1, 0.5).add(1.0, 0.5, np.zeros(2), np.full(2, 0.4)) == "accepted"
        trial = Trial(1, 0.5)
        verdicts = [trial.add(1.0, 0.5, np.zeros(2), np.full(2, 0.6)) for _ in range(TRIAL_PATIENCE)]
        assert verdicts[-1] == "action_jump"
        assert set(verdicts[:-1]) == {None}

    def test_one_trial_leaves_no_trace_in_the_next(self):
        trial = Trial(1, None)
        trial.add(1.0, 100.0, np.zeros(2), np.zeros(2))
        assert trial.add(1.0, 0.9, np.zeros(2), np.zeros(2)) == "accepted"


class TestDrift:
    def test_weights_beyond_the_budget_come_back_to_its_rim(self):
        home = [torch.tensor([3.0, 0.0]), torch.tensor([4.0])]
        guard = DriftGuard(home, budget=0.1)
        weights = [torch.tensor([3.0, 2.0]), torch.tensor([4.0])]
        assert guard.distance(weights) == pytest.approx(0.4)
        assert guard.hold(weights)
        assert guard.distance(weights) == pytest.approx(0.1)
        assert weights[0].tolist() == pytest.approx([3.0, 0.5])

    def test_weights_within_it_are_left_alone(self):
        weights = [torch.tensor([1.0, 0.05])]
        assert not DriftGuard([torch.tensor([1.0, 0.0])], budget=0.1).hold(weights)
        assert weights[0].tolist() == pytest.approx([1.0, 0.05])

    def test_a_pull_gives_back_a_share_of_the_way(self):
        weights = [torch.tensor([2.0])]
        DriftGuard([torch.tensor([1.0])], None, pull=0.25).hold(weights)
        assert weights[0].item() == pytest.approx(1.75)


def test_failures_count_until_something_good_comes_between():
    guard = FailureGuard(3)
    assert [guard.failed(), guard.failed()] == [False, False]
    guard.succeeded()
    assert [guard.failed(), guard.failed(), guard.failed()] == [False, False, True]
    assert not any(FailureGuard(None).failed() for _ in range(100))


@pytest.fixture
def calibrated():
    agent = make_agent()
    agent.calibration = calibrate(agent, make_gradient_env(steps=30), range(4))
    return agent


def test_in_the_training_environment_the_guarded_policy_acts_as_the_frozen_one(calibrated):
    env = make_gradient_env(steps=30)
    frozen = run_episode(env, FrozenPolicy(calibrated), 2)
    adapted = run_episode(env, AdaptivePolicy(calibrated), 2)
    assert adapted.rewards == frozen.rewards
    assert adapted.updates == 0
    assert adapted.guards["gate"] == 30


class Scripted:
    """A gate that opens when it is told to, and notes what it was shown."""

    needs_loss, needs_features, needs_colors = False, True, False
    excess: ClassVar[dict] = {}

    def __init__(self, *states: bool) -> None:
        self.states, self.shown = list(states), []

    def reset(self) -> None:
        pass

    def update(self, loss, channels=None, decision=None, colors=None) -> bool:
        self.shown.append(channels)
        return self.states.pop(0)


def at_home(agent, *states: bool, **guards) -> tuple[AdaptivePolicy, Scripted]:
    policy = AdaptivePolicy(agent, guarded(gate_features=1.0, home=True, **guards))
    gate = policy._learner._gate = Scripted(*states)
    return policy, gate


@pytest.mark.parametrize("guards", [{}, {"trial": 1}])
def test_while_the_gate_is_shut_the_trained_weights_act_if_they_are_to(calibrated, guards):
    policy, _ = at_home(calibrated, *[True] * 8, False, False, True, **guards)
    stream = list(transitions(11))
    for transition in stream[:8]:
        policy.observe(*transition)
    obs = scene(3)
    assert (policy.act(obs) != calibrated.act(obs)).any()
    learned = [weight.clone() for weight in policy._learner.online]
    for transition in stream[8:10]:
        policy.observe(*transition)
        assert (policy.act(obs) == calibrated.act(obs)).all()
    assert policy.counts["home"] == 1
    assert policy.report()["drift"] == 0
    assert all(a.equal(b) for a, b in zip(policy._learner.online, learned, strict=True))
    policy.observe(*stream[10])  # what was learned goes on from where it was
    moved = [float((a - b).norm()) for a, b in zip(policy._learner.online, learned, strict=True)]
    far = [float((a - b).norm()) for a, b in zip(learned, policy._learner.trained, strict=True)]
    assert 0 < sum(moved) < sum(far)
    if guards:  # and must prove itself again
        assert (policy.act(obs) == calibrated.act(obs)).all()
    else:
        assert (policy.act(obs) != calibrated.act(obs)).any()


def test_a_gate_at_home_looks_with_the_trained_weights(calibrated):
    policy, gate = at_home(calibrated, *[True] * 6)
    for transition in transitions(6):
        policy.observe(*transition)
        trained = as_model(calibrated)
        expected = trained.channels(trained.encode(trained.see(transition[2])).detach())
        assert np.allclose(gate.shown[-1], expected, rtol=1e-5)
    assert policy.report()["drift"] > 0


def test_nobody_is_at_home_without_a_gate():
    with pytest.raises(ValueError, match="give a gate too"):
        GuardConfig(gate=None, gate_features=None, gate_colors=None, home=True)


def test_under_a_shift_it_learns(calibrated):
    adapted = run_episode(make_gradient_env(steps=60, tint=(0.3, 0.6, 1)), AdaptivePolicy(calibrated), 2)
    assert adapted.updates > 10


def transitions(count: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    for step in range(count):
        yield scene(step % 20), rng.uniform(-1, 1, 2).astype(np.float32), scene((step + 1) % 20)


def test_weights_are_taken_over_only_when_a_trial_accepts_them(agent):
    policy = AdaptivePolicy(agent, guarded(trial=4))
    trained = policy._learner.weights
    for step, transition in enumerate(transitions(5)):
        policy.observe(*transition)
        assert (policy._learner.weights is trained) == (policy.counts.get("accepted", 0) == 0), step
        if step < 4:  # the first update is made after the first transition, and tried on the next four
            assert not policy.counts


def test_a_trial_measures_what_it_says(agent):
    policy = AdaptivePolicy(agent, guarded(trial=1))
    learner = policy._learner
    seen = []
    add = learner._trial.add
    learner._trial.add = lambda *arguments: seen.append(arguments) or add(*arguments)
    first, second = list(transitions(2))
    policy.observe(*first)
    tried = [weight.clone() for weight in learner.online]
    policy.observe(*second)
    model = as_model(agent).copy()
    transition = model.transition(*second)
    assert seen[0][0] == pytest.approx(model.measure(transition))
    for parameter, weight in zip(model.moving(policy.config).values(), tried, strict=True):
        parameter.data = weight
    assert seen[0][1] == pytest.approx(model.measure(transition))
    assert seen[0][3] == pytest.approx(FrozenPolicy(model).act(second[2]))


def test_what_was_accepted_is_not_tried_again_until_more_was_learned(agent):
    policy = AdaptivePolicy(agent, guarded(dataclasses.replace(LEARNING, every=3), trial=1))
    policy._learner._trial.add = lambda *_: "accepted"
    updates = 0
    for number, transition in enumerate(transitions(12)):
        # Learned after decisions 3, 6, 9 and 12, tried on the ones that follow them.
        updates += policy.observe(*transition)["updates"]
        assert policy.counts.get("accepted", 0) == number // 3
    assert updates == 4


def test_an_eager_policy_learns_from_each_of_the_first_decisions_and_then_more_rarely(agent):
    policy = AdaptivePolicy(agent, guarded(dataclasses.replace(LEARNING, eager=4, every=3)))
    for _ in range(2):
        updates = [policy.observe(*transition)["updates"] for transition in transitions(12)]
        assert updates == [1, 1, 1, 1, 0, 1, 0, 0, 1, 0, 0, 1]
        policy.reset()


def test_moments_without_time_do_not_use_up_what_a_policy_is_eager_for(agent):
    policy = AdaptivePolicy(agent, guarded(dataclasses.replace(LEARNING, eager=2, every=3)))
    allowed = iter([False, False, True, True, True])
    policy._learner._allowed = lambda: next(allowed)
    updates = [policy.observe(*transition)["updates"] for transition in transitions(7)]
    assert updates == [0, 0, 1, 1, 1, 0, 0]
    assert policy.counts["no_time"] == 2


def test_an_eager_policy_is_not_eager_again_after_a_restart(agent, tmp_path):
    config = guarded(dataclasses.replace(LEARNING, eager=4, every=3, reset="never"))
    first, second = AdaptivePolicy(agent, config), AdaptivePolicy(agent, config)
    for transition in transitions(4):
        first.observe(*transition)
    first.save(tmp_path / "state")
    second.load(tmp_path / "state")
    assert [second.observe(*transition)["updates"] for transition in transitions(5)] == [0, 1, 0, 0, 1]
    second.restore()
    assert [second.observe(*transition)["updates"] for transition in transitions(5)] == [1, 1, 1, 1, 0]


def test_decisions_at_which_the_gate_is_shut_do_not_use_up_what_a_policy_is_eager_for(agent):
    policy = AdaptivePolicy(agent, guarded(dataclasses.replace(LEARNING, eager=2, every=100)))
    learner = policy._learner
    opened = iter([False, False, True, True, True])

    class Shut:
        needs_loss = needs_features = needs_colors = False

        def update(self, loss, channels, decision, colors):
            return next(opened)

    learner._gate = Shut()
    assert [policy.observe(*transition)["updates"] for transition in transitions(5)] == [0, 0, 1, 1, 0]


def test_a_loss_that_no_guard_asks_for_is_not_computed(agent):
    policy = AdaptivePolicy(agent, guarded(dataclasses.replace(LEARNING, every=6), trial=1))
    policy._learner._trial.add = lambda *_: "accepted"
    asked, between = [], policy.model.loss_between
    policy.model.loss_between = lambda *parts: asked.append(parts) or between(*parts)
    counts = []
    for transition in transitions(12):
        policy.observe(*transition)
        counts.append(len(asked))
    # What was learned after the sixth is tried on the seventh, by the weights in use and by those on trial.
    assert counts == [0] * 6 + [2] * 6


def test_weights_on_trial_see_each_picture_and_act_on_it_once(agent):
    policy = AdaptivePolicy(agent, guarded(dataclasses.replace(LEARNING, every=6), trial=100))
    encoded, acted, encode, act = [], [], policy.model.encode, policy.model.act
    policy.model.encode = lambda seen: encoded.append(seen) or encode(seen)
    policy.model.act = lambda features, seen: acted.append(seen) or act(features, seen)
    obs = scene(0)
    for step in range(12):
        policy.act(obs)
        next_obs = scene(step + 1)
        policy.observe(obs, np.zeros(2, np.float32), next_obs)
        obs = next_obs
    # Each of 13 pictures by the weights in use, and those from the first trial on, the one before it included, by the
    # ones on trial.
    assert len(encoded) == 13 + 7
    assert len(acted) == 13 + 6


def test_an_action_that_a_control_loop_writes_to_is_not_what_guards_compare(agent):
    policy = AdaptivePolicy(agent, guarded(trial=100))
    expected = policy.act(scene()).copy()
    policy.act(scene())[:] = 7
    assert (policy.act(scene()) == expected).all()


def test_a_rejected_update_leaves_no_trace(agent):
    policy = AdaptivePolicy(agent, guarded(trial=1))
    policy._learner._trial.add = lambda *_: "worse"
    for transition in transitions(6):
        policy.observe(*transition)
    learner = policy._learner
    assert all(weight.equal(trained) for weight, trained in zip(learner.weights, learner.trained, strict=True))
    assert policy.counts == {"rejected_worse": 5}


def test_drift_stays_within_its_budget(agent):
    policy = AdaptivePolicy(agent, guarded(dataclasses.replace(LEARNING, learning_rate=0.1), drift=0.05))
    for transition in transitions(20):
        policy.observe(*transition)
        assert policy.drift <= 0.05 + 1e-6
    assert policy.counts["drift"] > 0


def test_an_average_of_recent_weights_moves_less_than_the_last_ones(agent):
    drifts = []
    for average in (0.0, 0.9):
        policy = AdaptivePolicy(agent, guarded(average=average))
        for transition in transitions(10):
            policy.observe(*transition)
        drifts.append(policy.report()["drift"])
    assert 0 < drifts[1] < drifts[0]


def spoil(policy: AdaptivePolicy, times: int) -> None:
    """Make the loss of the next updates no number."""
    model, remaining = policy._learner.model, [times]
    loss = model.loss

    def spoiled(*arguments):
        remaining[0] -= 1
        return loss(*arguments) * (math.nan if remaining[0] >= 0 else 1.0)

    model.loss = spoiled


def test_an_update_that_is_no_number_is_dropped_and_learning_goes_on(agent):
    policy = AdaptivePolicy(agent, guarded(failures=10))
    spoil(policy, 3)
    for transition in transitions(6):
        policy.observe(*transition)
        assert np.isfinite(policy.act(transition[2])).all()
    assert policy.counts["failed_not_finite"] == 3
    assert policy.report()["drift"] > 0


def test_after_repeated_failure_the_policy_is_frozen_and_says_so_once(agent):
    policy = AdaptivePolicy(agent, guarded(failures=3))
    spoil(policy, 100)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for transition in transitions(10):
            policy.observe(*transition)
    assert [str(warning.message).split(":")[0] for warning in caught] == ["adaptation failed repeatedly and is off"]
    assert policy.report()["given_up"] == 1
    assert policy.counts["failed_not_finite"] == 3
    obs = scene()
    assert (policy.act(obs) == agent.act(obs)).all()


def test_an_error_of_pytorch_after_the_first_update_is_a_failure_and_not_an_exception(agent):
    policy = AdaptivePolicy(agent, guarded(failures=None))
    first, *others = transitions(4)
    policy.observe(*first)

    def out_of_memory(*_):
        raise RuntimeError("out of memory")

    policy._learner.model.loss = out_of_memory
    for transition in others:
        policy.observe(*transition)
    assert policy.counts["failed_error"] == 3


def test_what_has_become_worse_than_the_trained_weights_is_given_up(agent):
    policy = AdaptivePolicy(agent, guarded(explosion=1.5))
    learner = policy._learner
    first, *others = transitions(40)
    policy.observe(*first)
    learner._loss_under = lambda *_: 1e-3  # the trained weights would infer better
    learner._learn = lambda: {"updates": 0}
    for transition in others:
        policy.observe(*transition)
    assert policy.counts["failed_explosion"] == 1
    assert policy.report()["drift"] == 0


def test_an_invalid_frame_is_acted_on_as_the_last_valid_one(agent):
    policy = AdaptivePolicy(agent, guarded(frames=True))
    expected = policy.act(scene())
    for bad in (None, np.zeros((9, 24, 24), np.uint8), np.zeros((3, 24, 24), np.uint8), np.zeros(3)):
        assert (policy.act(bad) == expected).all()
    assert policy.counts == {"frames_type": 1, "frames_constant": 1, "frames_shape": 2}


def test_nothing_is_learned_from_an_invalid_frame_or_a_stuck_one(agent):
    policy = AdaptivePolicy(agent, guarded(frames=True))
    action = np.zeros(2, np.float32)
    assert policy.observe(scene(), action, np.zeros((9, 24, 24), np.uint8))["updates"] == 0
    assert policy.observe(scene(), action, scene())["updates"] == 0
    assert policy.observe(scene(), np.full(2, np.nan, np.float32), scene(1))["updates"] == 0
    assert policy.observe(scene(), action, scene(1))["updates"] == 1
    assert policy.counts == {"frames_constant": 1, "frames_stuck": 1, "action_not_finite": 1}


def test_what_is_wrong_with_an_action_and_with_its_frames_is_counted_each(agent):
    policy = AdaptivePolicy(agent, guarded(frames=True))
    unknown = np.full(2, np.nan, np.float32)
    policy.observe(scene(), unknown, scene())
    policy.observe(scene(), unknown, np.zeros((9, 24, 24), np.uint8))
    assert policy.counts == {"action_not_finite": 2, "frames_stuck": 1, "frames_constant": 1}


def test_an_action_that_is_no_number_says_nothing_of_the_range_of_those_to_come(agent):
    policy = AdaptivePolicy(agent, guarded(frames=True))
    policy.observe(scene(), np.full(2, np.nan, np.float32), scene(1))
    with pytest.raises(ValueError, match="50"):
        policy.observe(scene(1), np.full(2, 50, np.float32), scene(2))


def test_an_observation_is_judged_once_however_often_it_is_shown(agent):
    policy = AdaptivePolicy(agent, guarded(frames=True))
    black = np.zeros((9, 24, 24), np.uint8)
    policy.act(scene())
    policy.observe(scene(), np.zeros(2, np.float32), black)
    policy.act(black)
    policy.observe(black, np.zeros(2, np.float32), scene(1))
    assert policy.counts == {"frames_constant": 1}


def test_a_lost_frame_is_counted_once_and_a_black_one_each_time_it_arrives(agent):
    policy = AdaptivePolicy(agent, guarded(frames=True))
    action, black = np.zeros(2, np.float32), np.zeros((9, 24, 24), np.uint8)
    policy.act(scene())
    policy.observe(scene(), action, None)
    policy.act(None)
    policy.observe(None, action, black)
    policy.act(black)
    policy.observe(black, action, black.copy())
    policy.act(black)
    assert policy.counts == {"frames_type": 1, "frames_constant": 2}


@pytest.mark.parametrize("acts_first", [True, False])
@pytest.mark.parametrize("kind", ["noise", "black", "lost"])
def test_a_bad_frame_is_one_arrival_whether_the_loop_acts_or_observes_first(agent, acts_first, kind):
    policy = AdaptivePolicy(agent, guarded(frames=True))
    noise = np.random.default_rng(0).integers(256, size=(9, 24, 24)).astype(np.uint8)
    bad = {"noise": noise, "black": np.zeros((9, 24, 24), np.uint8), "lost": None}[kind]
    reason = {"noise": "frames_sudden", "black": "frames_constant", "lost": "frames_type"}[kind]
    obs, updates = scene(), []
    action = policy.act(obs)
    for step in range(1, 12):
        next_obs = bad if step == 8 else scene(step % 20)
        next_action = policy.act(next_obs) if acts_first else None
        updates.append(policy.observe(obs, action, next_obs)["updates"])
        obs, action = next_obs, policy.act(next_obs) if next_action is None else next_action
        if step == 8:
            assert policy.report()["blind_decisions"] == 1
    assert policy.counts == {reason: 1}
    assert updates == [1] * 7 + [0, 0] + [1] * 2  # nothing is learned on the way there and back


@pytest.mark.parametrize("observes", [True, False])
def test_a_picture_that_has_changed_and_stands_still_is_taken_for_what_it_is(agent, observes):
    policy, frozen = AdaptivePolicy(agent, guarded(frames=True)), FrozenPolicy(agent)
    still, obs = scene(seed=5), scene()
    action = policy.act(obs)
    for _ in range(3):
        if observes:
            policy.observe(obs, action, still)
        obs, action = still, policy.act(still)
    assert policy.counts["frames_sudden"] == 1
    assert policy.report()["blind_decisions"] == 0
    assert (action == frozen.act(still)).all()


@pytest.mark.parametrize("wrong", [None, np.zeros((9, 20, 24), np.uint8), scene().astype(np.float32)])
def test_what_a_programmer_did_wrong_is_an_error_from_the_first_observation_on(agent, wrong):
    policy = AdaptivePolicy(agent, guarded(frames=True))
    with pytest.raises((TypeError, ValueError), match="observation must be"):
        policy.act(wrong)
    with pytest.raises((TypeError, ValueError), match="observation must be"):
        policy.observe(wrong, np.zeros(2, np.float32), scene())
    with pytest.raises(ValueError, match=r"action must have shape \(2,\), got \(3,\)"):
        policy.observe(scene(), np.zeros(3, np.float32), scene(1))


def test_a_camera_that_is_blind_from_the_start_is_acted_on_all_the_same(agent):
    policy = AdaptivePolicy(agent, guarded(frames=True))
    assert np.isfinite(policy.act(np.zeros((9, 24, 24), np.uint8))).all()


def hostile(obs: np.ndarray, before: np.ndarray, rng: np.random.Generator):
    """What a broken camera may send in place of an observation."""
    kinds = [
        lambda: np.zeros_like(obs),
        lambda: np.full_like(obs, 255),
        lambda: rng.integers(256, size=obs.shape).astype(np.uint8),
        lambda: obs.astype(np.float32) * np.nan,
        lambda: before,
        lambda: np.roll(obs, 7, axis=2),
        lambda: obs[:, :-1],
        lambda: obs.astype(np.float64),
        lambda: None,
    ]
    return kinds[rng.integers(len(kinds))]()


@pytest.mark.slow
@pytest.mark.parametrize("tint", [(1, 1, 1), (0.4, 0.7, 1)])
def test_a_stream_with_hostile_observations_does_no_harm(calibrated, tint):
    """Ten thousand steps, one observation of twenty spoiled, learned from without a reset."""
    config = AdaptationConfig(batch_size=8, reset="never")
    returns = {}
    for name, policy in (
        ("adapting", AdaptivePolicy(calibrated, config)),
        ("frozen", AdaptivePolicy(calibrated, dataclasses.replace(config, guards=GuardConfig(gate=1e9)))),
    ):
        rng, total = np.random.default_rng(0), 0.0
        env = make_gradient_env(steps=10_000, tint=tint)
        obs, _ = env.reset(seed=0)
        before, over = obs, False
        while not over:
            action = policy.act(obs)
            assert np.isfinite(action).all()
            true, reward, terminated, truncated, _ = env.step(action)
            next_obs = hostile(true, before, rng) if rng.uniform() < 0.05 else true
            policy.observe(obs, action, next_obs)
            obs, before, over, total = next_obs, true, terminated or truncated, total + float(reward)
        assert all(bool(weight.isfinite().all()) for weight in policy._learner.weights)
        assert all(policy.counts.get(f"frames_{kind}", 0) > 0 for kind in ("type", "shape", "dtype", "constant"))
        returns[name] = total
    assert returns["adapting"] >= 0.95 * returns["frozen"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gate": 0.0}, "gate must be positive or None, got 0.0"),
        ({"trial": -1}, "trial must be positive or None, got -1"),
        ({"average": 1.0}, "average must be at least 0 and below 1, got 1.0"),
        ({"trial": None}, "action_jump is measured in a trial"),
    ],
)
def test_guards_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(GuardConfig(), **change)


@pytest.mark.parametrize("nothing", [None, [1], np.zeros((3, 24, 24), np.uint8)])
def test_a_frame_that_is_missing_after_a_reset_is_no_error(agent, nothing):
    policy = AdaptivePolicy(agent, guarded(frames=True))
    policy.act(scene())
    policy.reset()
    assert np.isfinite(policy.act(nothing)).all()
    assert policy.report()["blind_decisions"] == 1
    policy.act(scene())
    assert policy.report()["blind_decisions"] == 0


def test_noise_at_the_start_does_not_blind_the_guard_to_noise():
    guard, rng = FrameGuard([CAMERA]), np.random.default_rng(0)

    def noise():
        return rng.integers(256, size=(9, 24, 24)).astype(np.uint8)

    faults = [guard.check(obs) for obs in (scene(), noise(), scene(1), noise(), scene(2), noise())]
    assert faults == [None, "sudden", None, "sudden", None, "sudden"]


def test_a_closed_policy_acts_and_learns_nothing(agent):
    policy = AdaptivePolicy(agent, LEARNING)
    policy.close()
    for transition in transitions(3):
        assert policy.observe(*transition)["updates"] == 0
        policy.act(transition[2])


def test_restoring_lets_a_policy_that_had_given_up_learn_again(agent):
    policy = AdaptivePolicy(agent, guarded(failures=2))
    spoil(policy, 2)
    first, second, *_ = transitions(4)
    policy.observe(*first)
    with pytest.warns(RuntimeWarning, match="adaptation failed repeatedly"):
        policy.observe(*second)
    policy.reset()
    assert policy.report()["given_up"] == 1
    policy.restore()
    assert [policy.observe(*transition)["updates"] for transition in transitions(3)] == [1, 1, 1]


def test_behind_a_shut_gate_of_features_not_even_the_loss_is_computed(agent, monkeypatch):
    agent.calibration = calibrate(agent, make_gradient_env(steps=30), range(4))
    policy = AdaptivePolicy(agent, guarded(gate_features=1e9))
    model = policy.model
    monkeypatch.setattr(model, "loss_between", lambda *_: pytest.fail("computed"))
    for transition in transitions(4):
        assert policy.observe(*transition) == {"updates": 0, "guards/gate": 1}


def test_a_gate_on_colours_stays_shut_in_training_and_opens_at_once_under_another_tint(calibrated):
    config = guarded(gate_colors=4.0)
    assert run_episode(make_gradient_env(steps=60), AdaptivePolicy(calibrated, config), 7).updates == 0
    policy = AdaptivePolicy(calibrated, config)
    assert "gate/colors" not in policy.report()
    shifted = run_episode(make_gradient_env(steps=60, tint=(0.2, 1, 0.5)), policy, 7)
    assert shifted.updates == 60
    assert policy.report()["gate/colors"] > 4


def test_where_colours_are_as_in_training_unusual_features_open_no_gate(calibrated):
    opened = {
        colors: run_episode(
            make_gradient_env(steps=60), AdaptivePolicy(calibrated, guarded(gate_features=1e-9, gate_colors=colors)), 7
        ).updates
        for colors in (None, 4.0)
    }
    assert opened == {None: 60, 4.0: 0}


def test_a_gate_looks_at_every_camera(agent):
    two = [Camera((3, 24, 24), key="one"), Camera((3, 24, 24), key="two")]
    seen = {"one": scene()[:3], "two": scene(1)[:3]}
    model = as_model(agent)
    model.cameras = tuple(two)
    moments = model.color_moments(model.see(seen))
    assert moments.shape == (2 * 9,)
    for number, key in enumerate(("one", "two")):
        pixels = seen[key][:, ::4, ::4].reshape(3, -1) / 255
        expected = [*pixels.mean(1), *np.cov(pixels, bias=True)[np.triu_indices(3)]]
        np.testing.assert_allclose(moments[9 * number : 9 * number + 9], expected, rtol=1e-6)


def test_an_episode_behind_all_guards_does_not_depend_on_those_before_it(calibrated):
    def shifted():
        return make_gradient_env(steps=60, tint=(0.2, 1, 0.5))

    policy, fresh = AdaptivePolicy(calibrated), AdaptivePolicy(calibrated)
    run_episode(shifted(), policy, 0)
    assert policy.counts["accepted"] > 0
    again, first = run_episode(shifted(), policy, 1), run_episode(shifted(), fresh, 1)
    assert again.rewards == first.rewards
    assert again.updates == first.updates > 0


@pytest.mark.filterwarnings("ignore:adaptation failed repeatedly")
def test_a_loop_that_observes_late_acts_on_the_newest_frame_when_one_is_lost(agent):
    policy, frozen = AdaptivePolicy(agent, guarded(frames=True)), FrozenPolicy(agent)
    policy._learner.given_up = True
    for late in (3, 12):
        policy.reset()
        stream = [scene(step) for step in range(late + 1)]
        for obs in stream:
            policy.act(obs)
        policy.observe(stream[0], np.zeros(2, np.float32), stream[-1])
        assert (policy.act(None) == frozen.act(stream[-1])).all(), late
        policy.observe(stream[0], np.zeros(2, np.float32), stream[-1])
        assert (policy.act(None) == frozen.act(stream[-1])).all(), late


def test_the_frame_acted_on_is_the_last_valid_one_although_it_was_shown_before(agent):
    policy, frozen = AdaptivePolicy(agent, guarded(frames=True)), FrozenPolicy(agent)
    for obs in (scene(0), scene(1), scene(0)):
        policy.act(obs)
    assert (policy.act(None) == frozen.act(scene(0))).all()


def test_a_camera_that_stands_still_is_counted_in_a_row(agent):
    policy = AdaptivePolicy(agent, guarded(frames=True))
    action = np.zeros(2, np.float32)
    policy.observe(scene(), action, scene(1))
    for count in range(3):
        assert policy.report()["stuck_decisions"] == count
        policy.observe(scene(1), action, scene(1))
    policy.observe(scene(1), action, scene(2))
    assert policy.report()["stuck_decisions"] == 0


def test_the_gate_knows_the_decision_in_the_episode_though_nothing_was_learned_from_some(calibrated):
    policy, numbers = AdaptivePolicy(calibrated, guarded(frames=True, gate_features=1.0)), []
    policy._learner._gate.update = lambda loss, channels, decision, colors: numbers.append(decision) or True
    action = np.zeros(2, np.float32)
    for _ in range(2):
        policy.observe(scene(0), action, scene(1))
        policy.observe(scene(1), action, scene(1))  # stuck
        policy.observe(scene(1), action, np.zeros((9, 24, 24), np.uint8))
        policy.observe(scene(1), action, scene(2))
        policy.reset()
    assert numbers == [0, 3, 0, 3]


def test_a_gate_at_home_compares_the_loss_of_the_trained_weights(calibrated):
    policy = AdaptivePolicy(calibrated, guarded(gate=1.0, home=True, gate_features=None, gate_colors=None))
    shown, trained = [], as_model(calibrated)
    gate = policy._learner._gate
    gate.update = lambda loss, channels, decision, colors: shown.append(loss) or True
    for step, transition in enumerate(transitions(6)):
        policy.observe(*transition)
        assert shown[-1] == pytest.approx(trained.measure(trained.transition(*transition)), rel=1e-5), step
    assert policy.report()["drift"] > 0


def test_how_fast_scenes_change_is_remembered_from_one_episode_to_the_next():
    guard, rng = FrameGuard([CAMERA]), np.random.default_rng(0)

    def faults(count: int) -> list:
        return [guard.check(rng.integers(256, size=(9, 24, 24)).astype(np.uint8)) for _ in range(count)]

    assert None in faults(20)
    guard.reset()
    assert faults(5) == [None] * 5


def test_an_action_far_out_of_range_is_an_error_at_first_and_later_a_guard(agent):
    policy = AdaptivePolicy(agent, LEARNING)
    obs, _, next_obs = next(transitions(1))
    far = np.full(2, 7, np.float32)
    with pytest.raises(ValueError, match="clip it, or declare the units"):
        policy.observe(obs, far, next_obs)
    assert policy.observe(obs, np.zeros(2, np.float32), next_obs)["updates"] == 1
    policy.reset()
    assert policy.observe(obs, far, next_obs) == {"updates": 0, "guards/action_out_of_bounds": 1}


def test_an_observation_of_another_kind_is_told_once(agent):
    policy = AdaptivePolicy(agent, guarded(frames=True))
    expected = policy.act(scene())
    with pytest.warns(RuntimeWarning, match="an observation is a tuple, none of the declared kind"):
        assert (policy.act((scene(), {})) == expected).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy.act((scene(), {}))
        policy.act(None)


def test_a_policy_that_is_blind_for_long_says_so_once(agent):
    policy = AdaptivePolicy(agent, guarded(frames=True))
    policy.act(scene())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(LONG_BLIND - 1):
            policy.act(None)
    with pytest.warns(RuntimeWarning, match=f"no valid observation for {LONG_BLIND} decisions"):
        policy.act(None)


def test_what_made_an_update_fail_is_told(agent):
    policy = AdaptivePolicy(agent, guarded(failures=None))
    first, second = transitions(2)
    policy.observe(*first)
    policy._learner.model.loss = lambda *_: [][0]
    with pytest.warns(RuntimeWarning, match="an update failed and was dropped: IndexError: list index out of range"):
        policy.observe(*second)


def test_settings_may_be_named(agent):
    assert AdaptivePolicy(agent, "unguarded").config == ADAPTATIONS["unguarded"]
    with pytest.raises(ValueError, match="unknown settings 'fast'; known: default, light, unguarded, paper"):
        AdaptivePolicy(agent, "fast")
    config = with_fields(AdaptationConfig(), guards={"gate": 1})
    with pytest.raises(TypeError, match=r"guards must be a GuardConfig\(...\), got {'gate': 1}"):
        config.__post_init__()


def test_frozen_and_adapting_policies_fit_into_the_same_loop(agent):
    for policy in (FrozenPolicy(agent), AdaptivePolicy(agent, LEARNING)):
        with policy as acting:
            acting.reset()
            for transition in transitions(3):
                acting.act(transition[0])
                acting.observe(*transition)
            assert acting.report()["updates"] == (0 if isinstance(policy, FrozenPolicy) else 3)
        acting.close()


def test_what_comes_after_the_end_is_counted(agent):
    policy = AdaptivePolicy(agent, LEARNING)
    policy.close()
    policy.observe(*next(transitions(1)))
    assert policy.counts == {"closed": 1}


def test_a_glitch_is_one_arrival_though_an_entry_of_the_observation_cannot_be_compared(agent):
    class Pose:
        pass

    class Keyed(AgentModel):
        def __init__(self, agent):
            super().__init__(agent)
            self.cameras = (dataclasses.replace(self.cameras[0], key="camera"),)

    policy, rng = AdaptivePolicy(Keyed(agent), guarded(frames=True)), np.random.default_rng(0)
    obs, action = {"camera": scene(), "pose": Pose()}, np.zeros(2, np.float32)
    policy.act(obs)
    for step in range(1, 31):
        noise = step % 6 == 0
        pixels = rng.integers(256, size=(9, 24, 24)).astype(np.uint8) if noise else scene((0, 1, 2, 1)[step % 4])
        next_obs = {"camera": pixels, "pose": Pose()}
        policy.observe(obs, action, next_obs)
        policy.act(next_obs)
        assert (policy.report()["blind_decisions"] > 0) == noise, step
        obs = next_obs
    assert policy.counts["frames_sudden"] == 5


def test_a_failed_update_keeps_nothing_of_what_it_computed(agent):
    policy, held = AdaptivePolicy(agent, guarded(failures=None)), []

    def failing(*_):
        computed = torch.zeros(3)
        held.append(weakref.ref(computed))
        raise RuntimeError("out of memory")

    first, second = transitions(2)
    policy.observe(*first)
    policy._learner.model.loss = failing
    with pytest.warns(RuntimeWarning, match="out of memory"):
        policy.observe(*second)
    gc.collect()
    assert held[0]() is None


def test_a_warning_names_the_line_of_the_control_loop(tmp_path):
    loop = tmp_path / "loop.py"
    loop.write_text(
        "from pad.deployment import AdaptivePolicy\n"
        "from envs.gradient import GradientEnv\n"
        "policy = AdaptivePolicy.from_checkpoint('cartpole_swingup')\n"
        "obs, action = policy.model.cameras[0], [0.0]\n"
        "import numpy as np\n"
        "obs = np.random.default_rng(0).integers(0, 255, obs.shape, np.uint8)\n"
        "policy.act(obs)\n"
        "policy.act('no picture')\n"
        "policy.reset()\n"
    )
    told = subprocess.run([sys.executable, loop], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, check=True).stderr  # fmt: skip
    assert f"{loop}:8: RuntimeWarning: an observation is a str" in told
