import math

import numpy as np
import pytest

from pad.calibration import PHASES, WINDOW, Calibration, FeatureRange, RunningAverage
from pad.gate import Gate

TRAINING = Calibration(mean_loss=0.01, usual_loss=(0.1, 0.05, 0.02, 0.02, 0.02), episodes=5)


def features(episodes: int, decisions: int = 200, channels: int = 4, seed: int = 0) -> list[np.ndarray]:
    """Channels that swing widely along one direction and hardly along the others."""
    rng = np.random.default_rng(seed)
    widths = np.array([1.0, *[0.1] * (channels - 1)])
    return [5 + widths * rng.normal(size=(decisions, channels)) for _ in range(episodes)]


def test_the_gate_opens_above_the_usual_loss_and_shuts_below():
    gate = Gate(TRAINING, factor=1.5)
    for _ in range(PHASES[-1]):
        assert not gate.update(0.019)
    assert not gate.update(0.05)  # the average is still low
    assert gate.update(1.0)
    assert gate.update(0.019)  # and now still high
    for _ in range(10 * WINDOW):
        last = gate.update(0.01)
    assert not last


def test_what_is_usual_at_the_start_of_an_episode_is_not_later():
    gate = Gate(TRAINING, factor=1.0)
    opened = [gate.update(0.03) for _ in range(100)]
    assert not any(opened[: PHASES[2]])
    assert all(opened[PHASES[2] :])
    gate.reset()
    assert not gate.update(0.03)


def test_with_features_the_gate_opens_only_when_these_are_unusual_too():
    known = FeatureRange.of(features(5))
    gate = Gate(Calibration(0.01, TRAINING.usual_loss, 5, known), factor=1.0, feature_factor=1.0)
    inside = features(1, seed=1)[0]
    assert sum(gate.update(1.0, row) for row in inside) < 20  # one in a hundred, in runs
    outside = inside + 1.0
    assert all([gate.update(1.0, row) for row in outside][30:])


def test_a_factor_that_is_none_asks_for_nothing():
    known = FeatureRange.of(features(5))
    gate = Gate(Calibration(0.01, TRAINING.usual_loss, 5, known), factor=None, feature_factor=1.0)
    assert gate.update(0.0, np.full(4, 50.0))
    assert Gate(TRAINING, factor=None).update(0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_keeps_the_gate_shut_and_leaves_no_trace(bad):
    known = FeatureRange.of(features(5))
    gate = Gate(Calibration(0.01, TRAINING.usual_loss, 5, known), factor=1.0, feature_factor=1.0)
    assert not gate.update(bad, np.full(4, 50.0))
    assert not gate.update(1.0, np.full(4, bad))
    assert not gate.update(0.01, np.full(4, 5.0))


def test_the_phase_is_that_of_the_decision_where_it_is_told():
    calibration = Calibration(0.1, (10.0, 0.1, 0.1, 0.1, 0.1), 1)
    assert not Gate(calibration, 1.0).update(1.0)
    assert not Gate(calibration, 1.0).update(1.0, decision=0)
    assert Gate(calibration, 1.0).update(1.0, decision=8)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_after_no_number_the_gate_opens_as_ever(bad):
    gate = Gate(Calibration(0.01, (0.1,) * 5, 5, FeatureRange.of(features(5))), factor=1.0, feature_factor=1.0)
    assert not gate.update(bad, np.full(4, 50.0))
    assert not gate.update(1.0, np.full(4, bad))
    assert gate.update(1.0, np.full(4, 50.0))


def test_a_new_episode_forgets_the_features_of_the_last():
    gate = Gate(Calibration(0.01, (0.1,) * 5, 5, FeatureRange.of(features(5))), factor=None, feature_factor=1.0)
    for _ in range(40):
        assert gate.update(None, np.full(4, 50.0))
    gate.reset()
    assert not gate.update(None, np.full(4, 5.0))


def test_a_value_counts_one_in_a_window():
    running = RunningAverage()
    for _ in range(WINDOW):
        running.add(0.0)
    assert running.add(float(WINDOW)) == 1.0


def test_all_that_counts_must_be_unusual():
    known = FeatureRange.of(features(5))
    gate = Gate(Calibration(0.01, (0.1,) * 5, 5, known, frames=known), None, feature_factor=1.0, color_factor=4.0)
    here, far = np.full(4, 5.0), np.full(4, 50.0)
    heard = []
    for channels, colors in ((far, here), (here, far), (far, far)):
        gate.reset()
        heard.append(gate.update(None, channels, colors=colors))
    assert heard == [False, False, True]


@pytest.mark.parametrize(("asked", "lacks"), [((1.0, None), "features"), ((None, 4.0), "colours of single frames")])
def test_a_calibration_without_what_is_asked_for_says_who_measures_it(asked, lacks):
    with pytest.raises(ValueError, match=f"holds no {lacks}: scripts/calibrate.py"):
        Gate(TRAINING, None, *asked)
