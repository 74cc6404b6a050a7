import math

import pytest

from pad.gate import Calibration, Gate, RunningLoss

TRAINING = Calibration(mean_loss=0.01, usual_loss=0.02, episodes=5)


def test_the_running_loss_is_the_mean_at_first_and_follows_later():
    running = RunningLoss()
    assert [running.add(loss) for loss in (4.0, 2.0)] == [4.0, 3.0]
    for _ in range(100):
        running.add(1.0)
    assert running.value == pytest.approx(1.0, abs=1e-4)


def test_calibration_is_the_mean_and_what_one_in_a_hundred_exceeds():
    losses = [0.01] * 950 + [1.0] * 50
    calibration = Calibration.of([losses, [0.01] * 1000])
    assert calibration.mean_loss == pytest.approx((1950 * 0.01 + 50) / 2000)
    assert calibration.episodes == 2
    running = RunningLoss()
    averages = [running.add(loss) for loss in losses]
    running.reset()
    averages += [running.add(0.01) for _ in range(1000)]
    assert sum(average > calibration.usual_loss for average in averages) == pytest.approx(20, abs=1)


def test_the_gate_opens_above_the_usual_loss_and_shuts_below():
    gate = Gate(TRAINING, factor=1.5)
    assert not gate.is_open(0.029)
    assert gate.is_open(0.5)
    assert gate.is_open(0.029)  # the average is still high
    for _ in range(60):
        last = gate.is_open(0.01)
    assert not last


def test_a_new_episode_begins_with_a_fresh_average():
    gate = Gate(TRAINING, factor=1.0)
    assert gate.is_open(1.0)
    gate.reset()
    assert not gate.is_open(0.01)


def test_a_loss_that_is_no_number_keeps_the_gate_shut_and_leaves_no_trace():
    gate = Gate(TRAINING, factor=1.0)
    assert not gate.is_open(math.nan)
    assert not gate.is_open(math.inf)
    assert not gate.is_open(0.01)
