"""Controls: what an adapting policy is compared with."""

import numpy as np
import pytest
import torch

from envs.gradient import make_gradient_env
from pad.colors import ColorStatistics
from pad.deployment import ColorMatchedPolicy, FrozenPolicy
from pad.deployment.calibrator import calibrate
from pad.evaluation import run_episode


def pictures(seed=0, count=6):
    rng = np.random.default_rng(seed)
    mix = rng.uniform(0, 1, (3, 3))
    return [
        np.clip(255 * np.einsum("ij,jhw->ihw", mix / 3, rng.uniform(0, 1, (3, 20, 20))), 0, 255) for _ in range(count)
    ]


def test_statistics_are_those_of_all_pixels():
    frames = pictures()
    pixels = np.concatenate([frame.reshape(3, -1) for frame in frames], 1) / 255
    found = ColorStatistics.of(frames)
    np.testing.assert_allclose(found.mean, pixels.mean(1), atol=1e-5)
    np.testing.assert_allclose(found.covariance, np.cov(pixels, bias=True), atol=1e-6)


def test_mapped_colours_have_the_statistics_that_were_wanted():
    here, there = ColorStatistics.of(pictures(0)), ColorStatistics.of(pictures(1))
    matrix, offset = here.map_to(there)
    mapped = [255 * (np.einsum("ij,jhw->ihw", matrix, frame / 255) + offset[:, None, None]) for frame in pictures(0)]
    found = ColorStatistics.of(mapped)
    np.testing.assert_allclose(found.mean, there.mean, atol=1e-3)
    np.testing.assert_allclose(found.covariance, there.covariance, atol=2e-3)


def test_colours_that_are_as_in_training_stay_as_they_are():
    same = ColorStatistics.of(pictures())
    matrix, offset = same.map_to(same)
    np.testing.assert_allclose(matrix, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(offset, 0, atol=1e-6)


def test_a_colour_that_never_appears_is_not_stretched_without_end():
    grey = ColorStatistics.of([np.full((3, 5, 5), 128.0)])
    matrix, offset = grey.map_to(ColorStatistics.of(pictures()))
    assert np.isfinite(matrix).all()
    assert np.isfinite(offset).all()


def test_a_matched_policy_sees_a_tinted_world_nearly_as_that_of_training(agent):
    agent.calibration = calibrate(agent, make_gradient_env(steps=30), range(4))
    tinted = make_gradient_env(steps=30, tint=(0.4, 0.9, 0.6))
    matched, frozen = ColorMatchedPolicy(agent), FrozenPolicy(agent)
    seen = {"matched": [], "frozen": [], "training": []}
    for seed in range(3):
        for name, policy, env in (("matched", matched, tinted), ("frozen", frozen, tinted),
                                  ("training", frozen, make_gradient_env(steps=30))):  # fmt: skip
            policy.reset()
            obs, _ = env.reset(seed=seed)
            env.action_space.seed(seed)
            for _ in range(30):
                seen[name].append(policy.act(obs))
                obs, *_ = env.step(env.action_space.sample())
    errors = {name: np.abs(np.array(seen[name]) - np.array(seen["training"])).mean() for name in ("matched", "frozen")}
    assert errors["matched"] < errors["frozen"]


def test_a_matched_policy_leaves_the_agent_alone_and_learns_nothing(agent):
    agent.calibration = calibrate(agent, make_gradient_env(), range(2))
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    episode = run_episode(make_gradient_env(), ColorMatchedPolicy(agent), 0)
    assert episode.updates == 0
    assert all(torch.equal(value, before[name]) for name, value in agent.state_dict().items())


def test_a_matched_policy_needs_no_self_supervised_head(agent):
    agent.calibration = calibrate(agent, make_gradient_env(), range(2))
    agent.inverse_dynamics = None
    assert run_episode(make_gradient_env(), ColorMatchedPolicy(agent), 0).steps == 10


def test_without_the_colours_of_training_nothing_is_matched(agent):
    with pytest.raises(ValueError, match=r"no colours of training: scripts/calibrate.py"):
        ColorMatchedPolicy(agent)
