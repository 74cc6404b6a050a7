import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_guards import guarded, scene
from torch import nn

from pad.deployment import AdaptivePolicy, Camera, FrozenPolicy
from pad.deployment.guards import FrameGuard
from pad.deployment.torch_policy import TorchPolicy

PATTERN = np.random.default_rng(0).integers(20, size=(3, 24, 24)).astype(np.float64)


def lit(share: float) -> np.ndarray:
    """A structured picture whose every pixel is brighter by a share of the range."""
    return np.concatenate([PATTERN + 255 * share] * 3).round().astype(np.uint8)


def test_a_step_of_once_and_a_half_the_largest_of_training_is_not_sudden():
    for step, fault in ((0.29, None), (0.31, "sudden")):
        guard = FrameGuard([Camera((9, 24, 24))], largest_step=0.2)
        assert guard.check(lit(0)) is None
        assert guard.check(lit(step)) == fault


def test_after_a_rest_a_scene_may_begin_to_move():
    guard, place = FrameGuard([Camera((9, 24, 24))]), 0.0
    for _ in range(40):
        assert guard.check(lit(0)) is None
    for step in (0.04, 0.07, 0.2):
        place += step
        assert guard.check(lit(place)) is None, step


@pytest.mark.parametrize(("fast", "fault"), [(4, "sudden"), (5, None)])
def test_of_recent_steps_the_four_largest_say_nothing_of_how_fast_scenes_change(fast, fault):
    guard, place = FrameGuard([Camera((9, 24, 24))]), 0.0
    assert guard.check(lit(place)) is None
    for step in (0.06, *[0.2, -0.2] * 4)[: 1 + fast]:
        place += step
        assert guard.check(lit(place)) is None
    assert guard.check(lit(place + 0.5)) == fault


def test_what_is_observed_three_decisions_late_is_judged_once(agent, monkeypatch):
    policy, judged = AdaptivePolicy(agent, guarded(frames=True)), []
    check = FrameGuard.check
    monkeypatch.setattr(FrameGuard, "check", lambda guard, obs, **how: judged.append(obs) or check(guard, obs, **how))
    stream = [scene(step % 8) for step in range(8)]
    for newest, obs in enumerate(stream):
        policy.act(obs)
        if newest >= 3:
            policy.observe(stream[newest - 3], np.zeros(2, np.float32), stream[newest - 2])
    assert len(judged) == len(stream)


def test_a_black_first_frame_is_acted_on_as_it_is(agent):
    black = np.zeros((9, 24, 24), np.uint8)
    policy, frozen = AdaptivePolicy(agent, guarded(frames=True)), FrozenPolicy(agent)
    assert (policy.act(black) == frozen.act(black)).all()


def test_what_spans_a_hundredth_of_the_range_is_of_one_colour():
    for span, fault in ((2, "constant"), (4, None)):
        obs = np.full((9, 24, 24), 100, np.uint8)
        obs[:, ::4] += span
        assert FrameGuard([Camera((9, 24, 24))]).check(obs) == fault


TWO = [Camera((3, 24, 24), "one"), Camera((3, 24, 24), "two")]


@pytest.mark.parametrize("broken", ["one", "two"])
def test_one_broken_camera_of_two_spoils_the_observation(broken):
    rng = np.random.default_rng(0)
    for bad, fault in (
        (np.zeros((3, 24, 24), np.uint8), "constant"),
        (rng.integers(256, size=(3, 24, 24), dtype=np.uint8), "sudden"),
    ):
        guard = FrameGuard(TWO)
        for step in range(10):
            assert guard.check({name: scene(step % 3)[:3] for name in ("one", "two")}) is None
        assert guard.check({"one": scene(1)[:3], "two": scene(1)[:3], broken: bad}) == fault


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 5, 5)

    def forward(self, pictures):
        return torch.cat([self.layer(pictures["one"]), self.layer(pictures["two"])], 1).flatten(1)


def two_cameras(act=lambda f, _: f[0, :2].clamp(-1, 1).numpy()):
    torch.manual_seed(0)
    policy = TorchPolicy(Both(), act, TWO, gym.spaces.Box(-1, 1, (2,), np.float32))
    policy.fitted = True
    return policy


def test_a_camera_that_stands_still_beside_one_that_moves_is_no_fault():
    policy = AdaptivePolicy(two_cameras(), guarded(frames=True))
    still, action = scene(0)[:3], np.zeros(2, np.float32)
    first, second = ({"one": scene(step)[:3], "two": still} for step in (0, 1))
    assert policy.observe(first, action, second)["updates"] == 1
    assert policy.counts == {}
    assert policy.observe(second, action, second)["updates"] == 0
    assert policy.counts == {"frames_stuck": 1}


def test_an_entry_is_the_newest_though_another_is_missing():
    seen = []
    policy = two_cameras(lambda f, rest: seen.append(dict(rest)) or np.zeros(2, np.float32))
    policy = AdaptivePolicy(policy, guarded(frames=True))
    view = {"one": scene(0)[:3], "two": scene(1)[:3]}
    policy.act({**view, "joint": 1.0, "speed": 2.0})
    policy.act({**view, "joint": 3.0})
    policy.act({**view, "joint": 5.0, "speed": math.nan})
    assert [float(rest["joint"]) for rest in seen] == [1, 3, 5]
    assert [float(rest["speed"]) for rest in seen] == [2, 2, 2]
