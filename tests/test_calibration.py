import numpy as np
import pytest

from envs.gradient import make_gradient_env
from pad.calibration import DIMENSIONS, PHASES, WINDOW, Calibration, FeatureRange, RunningAverage, usual
from pad.colors import ColorStatistics
from pad.deployment import FrozenPolicy
from pad.deployment.calibrator import calibrate


def features(episodes: int, decisions: int = 200, channels: int = 4, seed: int = 0) -> list[np.ndarray]:
    """Channels that swing widely along one direction and hardly along the others."""
    rng = np.random.default_rng(seed)
    widths = np.array([1.0, *[0.1] * (channels - 1)])
    return [5 + widths * rng.normal(size=(decisions, channels)) for _ in range(episodes)]


def test_the_running_average_is_the_mean_at_first_and_follows_later():
    running = RunningAverage()
    assert [running.add(value) for value in (4.0, 2.0)] == [4.0, 3.0]
    for _ in range(20 * WINDOW):
        running.add(1.0)
    assert running.value == pytest.approx(1.0, abs=1e-4)


def test_usual_is_what_one_in_a_hundred_exceeds_in_each_phase_of_an_episode():
    rng = np.random.default_rng(0)
    episodes = [[*rng.uniform(1, 2, 8), *rng.uniform(0, 1, 192)] for _ in range(40)]
    found = usual(episodes)
    assert len(found) == len(PHASES)
    assert found[0] > 1.5  # the start is another thing
    assert found[-1] < 0.7
    averages = []
    for episode in episodes:
        running = RunningAverage()
        averages.append([running.add(value) for value in episode])
    for start, end, value in zip(PHASES, (*PHASES[1:], None), found, strict=True):
        inside = np.array([row[start:end] for row in averages])
        assert (inside > value).mean() == pytest.approx(0.01, abs=0.005)


def test_a_phase_that_no_episode_reached_is_as_the_one_before():
    assert usual([[1.0] * 10, [2.0] * 10])[2:] == (usual([[1.0] * 10, [2.0] * 10])[1],) * 3


def test_calibration_has_the_mean_of_all_decisions():
    calibration = Calibration.of([[1.0] * 30, [4.0] * 10], None)
    assert calibration.mean_loss == pytest.approx(70 / 40)
    assert calibration.episodes == 2
    assert calibration.features is None


def test_features_are_near_where_they_were_measured_and_far_along_what_never_moved():
    known = FeatureRange.of(features(5))
    distances = [known.distance(row) for row in features(1, seed=1)[0]]
    assert np.mean(distances) == pytest.approx(1.0, abs=0.2)
    wide, narrow = np.full(4, 5.0), np.full(4, 5.0)
    wide[0] += 1.0
    narrow[1] += 1.0
    assert known.distance(wide) < 1
    assert known.distance(narrow) > 20


def test_a_direction_that_never_moved_is_as_wide_as_a_share_of_the_average_variance():
    swings = np.tile([[1.0, 5.0], [-1.0, 5.0]], (500, 1))
    known = FeatureRange.of([swings])
    beside = known.distance(np.array([0.0, 5.1]))
    width = 1e-3 * swings.var(0).mean()
    assert beside == pytest.approx(0.1**2 / width / 2, rel=0.01)  # a mean over two directions


def test_many_channels_are_compared_in_few_dimensions():
    known = FeatureRange.of(features(5, channels=300))
    assert len(known.mean) == len(known.whitening) == DIMENSIONS
    inside, outside = features(1, channels=300, seed=1)[0], np.full(300, 6.0)
    assert known.distance(outside) > 10 * np.mean([known.distance(row) for row in inside])


def test_the_colours_of_a_calibration_are_those_of_the_newest_frames(agent):
    env, policy, frames = make_gradient_env(steps=30), FrozenPolicy(agent), []
    found = calibrate(agent, make_gradient_env(steps=30), [0]).colors
    obs, over = env.reset(seed=0)[0], False
    while not over:
        obs, _, _, over, _ = env.step(policy.act(obs))
        frames.append(obs[-3:, ::4, ::4].astype(np.float32))
    expected, older = ColorStatistics.of(frames), ColorStatistics.of([frames[0]] * 3 + frames[:-3])
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5)
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-4, atol=1e-8)
    assert np.abs(np.subtract(older.mean, expected.mean)).max() > 1e-4
