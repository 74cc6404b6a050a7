import gc
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from pad.deployment import NO_GUARDS, AdaptationConfig, AdaptivePolicy, AgentModel, Budget
from pad.deployment.background import PENDING
from pad.deployment.state import load_state

ROOT = Path(__file__).parents[1]
CONFIG = AdaptationConfig(batch_size=4, memory=8, reset="never", guards=NO_GUARDS)
EPISODIC = AdaptationConfig(batch_size=4, memory=8, guards=NO_GUARDS)


def learning_threads() -> int:
    return sum(thread.name == "pad-adaptation" for thread in threading.enumerate())


@pytest.fixture
def background(agent):
    with AdaptivePolicy(agent, CONFIG, adaptation="background") as policy:
        yield policy


def weights(policy) -> list[torch.Tensor]:
    """Those that the policy acts with."""
    return [parameter.clone() for parameter in policy.model.moving(policy.config).values()]


def equal(first, second) -> bool:
    return all(a.equal(b) for a, b in zip(first, second, strict=True))


class Gate:
    """A loss that stops until it is let go, and tells that it has begun."""

    def __init__(self, monkeypatch) -> None:
        self.entered, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.error: Exception | None = None
        plain = AgentModel.loss

        def loss(model, *args):
            self.entered.release()
            assert self.go.acquire(timeout=60)
            if self.error is not None:
                raise self.error
            return plain(model, *args)

        monkeypatch.setattr(AgentModel, "loss", loss)


@pytest.fixture
def gate(monkeypatch):
    return Gate(monkeypatch)


def test_what_was_learned_beside_the_loop_is_taken_over_at_the_next_act(background, transition):
    before = weights(background)
    background.observe(*transition)
    background._background.drain()
    assert equal(weights(background), before)
    background.act(transition[0])
    assert not equal(weights(background), before)


def test_learning_beside_the_loop_is_that_inside_it(agent, transition):
    inline = AdaptivePolicy(agent, CONFIG, seed=3)
    with AdaptivePolicy(agent, CONFIG, seed=3, adaptation="background") as background:
        for _ in range(5):
            inline.observe(*transition)
            background.observe(*transition)
            background._background.drain()
        assert (background.act(transition[0]) == inline.act(transition[0])).all()
    assert equal(weights(background), weights(inline))


def test_a_slow_learner_holds_up_neither_observe_nor_act(background, transition, gate):
    for _ in range(5):
        background.observe(*transition)
        background.act(transition[0])
    assert gate.entered.acquire(timeout=10)
    assert background.report()["updates"] == 0
    gate.go.release(100)


def test_what_does_not_fit_is_dropped_oldest_first_and_counted(background, transition, gate):
    obs, _, next_obs = transition
    learned = []
    plain = background._learner.learn
    background._learner.learn = lambda t: learned.append(round(float(t.action[0]), 2)) or plain(t)
    background.observe(obs, np.zeros(2, np.float32), next_obs)
    assert gate.entered.acquire(timeout=10)
    for number in range(1, PENDING + 4):
        background.observe(obs, np.full(2, number / 100, np.float32), next_obs)
    assert background.counts["late"] == 3
    gate.go.release(100)
    background._background.drain()
    assert learned == [0] + [number / 100 for number in range(4, PENDING + 4)]


def test_the_loop_hears_what_was_measured_beside_it(background, transition):
    assert background.observe(*transition) == {"updates": 0}
    background._background.drain()
    obs, action, next_obs = transition
    metrics = background.observe(obs, -action, next_obs)
    assert metrics["updates"] == 1
    assert np.isfinite(metrics["self_supervised_loss"])


def test_the_loop_hears_of_guards_that_acted_beside_it(agent, transition, monkeypatch):
    with AdaptivePolicy(agent, CONFIG, adaptation="background") as policy:
        policy.observe(*transition)
        policy._background.drain()
        monkeypatch.setattr(AgentModel, "loss", lambda *_: torch.tensor(float("nan"), requires_grad=True))
        policy.observe(*transition)
        policy._background.drain()
        monkeypatch.undo()
        assert policy.observe(*transition)["guards/failed_not_finite"] == 1
        policy._background.drain()
        assert "guards/failed_not_finite" not in policy.observe(*transition)


def test_waiting_for_the_learner_takes_until_it_has_learned(background, transition, gate):
    background.observe(*transition)
    with pytest.raises(TimeoutError, match="still busy"):
        background._background.drain(timeout=0.05)
    gate.go.release(100)
    background._background.drain()
    assert background.report()["updates"] == 1


@pytest.mark.parametrize("change", ["reset", "restore"])
def test_a_return_to_the_trained_weights_waits_for_the_step_under_way_and_forgets_the_rest(
    agent, transition, gate, change
):
    with AdaptivePolicy(agent, EPISODIC, adaptation="background") as policy:
        trained = weights(policy)
        for _ in range(4):
            policy.observe(*transition)
        assert gate.entered.acquire(timeout=10)
        threading.Timer(0.1, gate.go.release, [100]).start()
        getattr(policy, change)()
        policy._background.drain()
        policy.act(transition[0])
        assert equal(weights(policy), trained)
        assert policy.report()["updates"] <= 2  # the one under way, and one more if it was quick
        assert len(policy._learner._memory) == 0


def test_a_reset_that_keeps_what_was_learned_keeps_what_waits_and_what_was_measured(background, transition, gate):
    told = sum(background.observe(*transition)["updates"] for _ in range(4))
    assert gate.entered.acquire(timeout=10)
    threading.Timer(0.1, gate.go.release, [100]).start()
    background.reset()
    background._background.drain()
    assert background.report()["updates"] == 4
    assert len(background._learner._memory) == 4
    assert told + background.observe(*transition)["updates"] == 4


def test_a_snapshot_while_the_learner_is_busy_is_whole_and_what_waits_is_learned_afterwards(
    background, transition, gate
):
    for _ in range(3):
        background.observe(*transition)
    assert gate.entered.acquire(timeout=10)
    threading.Timer(0.1, gate.go.release, [100]).start()
    snapshot = background.snapshot()
    background._background.drain()
    assert background.report()["updates"] == 3
    background.restore(snapshot)
    assert equal(weights(background), list(snapshot["weights"].values()))


def test_after_a_return_the_age_of_the_weights_begins_anew(background, transition):
    background.observe(*transition)
    background._background.drain()
    time.sleep(0.5)
    before = background.report()["weights_age_seconds"]
    assert before >= 0.5
    background.restore()
    assert background.report()["weights_age_seconds"] < before


def test_weights_are_as_old_as_what_they_were_learned_from(background, transition, gate):
    background.observe(*transition)
    assert gate.entered.acquire(timeout=10)
    time.sleep(0.3)
    gate.go.release(100)
    background._background.drain()
    assert background.report()["weights_age_seconds"] >= 0.3


def test_a_state_is_saved_and_loaded_between_two_steps(background, transition, gate, tmp_path):
    for _ in range(3):
        background.observe(*transition)
    assert gate.entered.acquire(timeout=10)
    threading.Timer(0.1, gate.go.release, [1]).start()
    background.save(tmp_path / "state")
    saved = load_state(tmp_path / "state")
    assert gate.entered.acquire(timeout=10)
    threading.Timer(0.1, gate.go.release, [100]).start()
    background.load(tmp_path / "state")
    background._background.drain()
    background.act(transition[0])
    assert equal(weights(background), list(saved["weights"].values()))
    assert not equal(weights(background), background._learner.trained)


def test_a_closed_policy_still_acts_and_can_be_closed_again(agent, transition):
    policy = AdaptivePolicy(agent, CONFIG, adaptation="background")
    policy.close()
    policy.close()
    assert learning_threads() == 0
    policy.act(transition[0])
    assert policy.observe(*transition)["updates"] == 0
    policy.reset()
    assert set(policy.snapshot()["weights"]) == set(policy.parameter_names)


def test_nobody_waits_for_a_learner_that_was_closed(background, transition, gate):
    for _ in range(3):
        background.observe(*transition)
    assert gate.entered.acquire(timeout=10)
    threading.Timer(0.1, gate.go.release, [100]).start()
    background.close()
    background._background.drain(timeout=1.0)


def test_the_thread_ends_with_its_policy(agent, transition):
    policy = AdaptivePolicy(agent, CONFIG, adaptation="background")
    policy.observe(*transition)
    thread, known = policy._background._thread, weakref.ref(policy)
    del policy
    gc.collect()
    assert known() is None
    thread.join(timeout=10)
    assert not thread.is_alive()


@pytest.mark.slow
def test_a_program_that_ends_while_it_learns_ends_quietly():
    code = """
import sys; sys.path.insert(0, "tests")
import numpy as np, torch
from conftest import make_agent
from pad.deployment import NO_GUARDS, AdaptationConfig, AdaptivePolicy
torch.set_num_threads(1)
policy = AdaptivePolicy(make_agent(), AdaptationConfig(updates=50, guards=NO_GUARDS), adaptation="background")
rng = np.random.default_rng(0)
for _ in range(8):
    obs, next_obs = rng.integers(256, size=(2, 9, 24, 24), dtype=np.uint8)
    policy.observe(obs, np.zeros(2), next_obs)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("kind", [RuntimeError, ValueError])
def test_a_learner_that_cannot_even_begin_is_an_error_of_the_next_observe(background, transition, gate, kind):
    gate.error = kind("no such kernel")
    background.observe(*transition)
    gate.go.release(100)
    background._background.drain()
    with pytest.raises(RuntimeError, match="in the background failed") as error:
        background.observe(*transition)
    assert isinstance(error.value.__cause__, kind)
    background.act(transition[0])  # the trained weights still act


@pytest.mark.parametrize("adaptation", ["inline", "background"])
def test_later_errors_only_count_and_learning_goes_on(agent, transition, gate, adaptation):
    gate.go.release(100)
    with AdaptivePolicy(agent, CONFIG, adaptation=adaptation) as policy:

        def observe():
            policy.observe(*transition)
            if policy._background is not None:
                policy._background.drain()

        observe()
        learned = [weight.clone() for weight in policy._learner.weights]
        gate.error = ValueError("out of memory, say")
        observe()
        assert policy.counts["failed_error"] == 1
        assert equal(policy._learner.weights, learned)
        gate.error = None
        observe()
        assert policy.counts["failed_error"] == 1
        assert not equal(policy._learner.weights, learned)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def allowed(budget: Budget, clock: Clock, period: float, count: int, takes: float = 0.0) -> int:
    """How often learning is allowed in a loop of some period."""
    done = 0
    for _ in range(count):
        with budget.spending():
            if budget.take():
                done += 1
                clock.now += takes
        clock.now += period
    return done


@pytest.mark.parametrize(("loop", "rate", "expected"), [(20, 10, 100), (20, 15, 150), (20, 40, 200), (1000, 3, 30)])
def test_updates_a_second_are_as_many_as_were_asked_for_in_any_loop(loop, rate, expected):
    clock = Clock()
    budget = Budget(updates_per_second=float(rate), clock=clock)
    assert allowed(budget, clock, 1 / loop, 10 * loop) == pytest.approx(expected, abs=1)


def test_no_updates_are_saved_up_in_a_pause():
    clock = Clock()
    budget = Budget(updates_per_second=10.0, clock=clock)
    assert [budget.take(), budget.take()] == [True, False]
    clock.now += 60
    assert [budget.take(), budget.take()] == [True, False]


def test_milliseconds_are_kept_on_average_however_long_a_step_takes():
    clock = Clock()
    budget = Budget(milliseconds=2.0, clock=clock)
    # Steps of 10 ms in a budget of 2 ms for each transition: every fifth.
    assert allowed(budget, clock, 0.05, 1000, takes=0.010) == pytest.approx(200, abs=5)


def test_milliseconds_that_suffice_leave_nothing_out():
    clock = Clock()
    assert allowed(Budget(milliseconds=10.0, clock=clock), clock, 0.05, 100, takes=0.009) == 100


def test_only_so_much_unspent_time_is_kept():
    clock = Clock()
    budget = Budget(milliseconds=1.0, clock=clock)
    for _ in range(1000):
        with budget.spending():
            pass
    assert allowed(budget, clock, 0.05, 100, takes=1.0) == 1


def test_a_pause_of_a_minute_is_not_paid_for_by_minutes_without_learning():
    clock = Clock()
    budget = Budget(milliseconds=10.0, clock=clock)
    with budget.spending():
        assert budget.take()
        clock.now += 60
    assert allowed(budget, clock, 0.05, 400, takes=0.001) > 150


@pytest.mark.parametrize(
    ("value", "allowed"),
    [(0.0, "positive"), (-1.0, "positive"), (float("nan"), "a finite number"), (float("inf"), "a finite number")],
)
@pytest.mark.parametrize("name", ["milliseconds", "updates_per_second"])
def test_a_budget_is_positive_and_finite(name, value, allowed):
    with pytest.raises(ValueError, match=f"{name} must be {allowed} or None, got {value}"):
        Budget(**{name: value})


def test_what_is_over_the_budget_is_counted(agent, transition):
    clock = Clock()
    policy = AdaptivePolicy(agent, CONFIG, budget=Budget(updates_per_second=1.0, clock=clock))
    updates = [policy.observe(*transition)["updates"] for _ in range(4)]
    assert updates == [1, 0, 0, 0]
    assert policy.counts["no_time"] == 3


@pytest.mark.parametrize("inside", ["submit", "snapshot", "reset"])
def test_a_signal_whose_handler_saves_while_the_policy_is_called_is_an_error_and_no_deadlock(
    background, transition, monkeypatch, tmp_path, inside
):
    background.observe(*transition)
    background._background.drain()
    told = []

    def handler(*arguments):
        with pytest.raises(RuntimeError, match="set a flag there"):
            background.save(tmp_path / "state")
        told.append(True)
        return plain(*arguments)

    if inside == "submit":
        shared = background._background._shared
        plain = shared.so_far
        monkeypatch.setattr(shared, "so_far", handler)
        background.observe(*transition)
    else:
        name = {"snapshot": "state_dict", "reset": "reset"}[inside]
        plain = getattr(background._learner, name)
        monkeypatch.setattr(background._learner, name, handler)
        getattr(background, inside)()
    monkeypatch.undo()
    assert told
    background.save(tmp_path / "state")
