"""When a function is captured, with a capture that only counts: real ones need CUDA (test_cuda)."""

import copy
import dataclasses
import gc
import pickle
import weakref

import pytest
import torch

from pad import cuda_graph
from pad.cuda_graph import WARM_UP, CapturedFunction
from pad.deployment import ADAPTATIONS, AdaptivePolicy
from pad.sac import SAC, SACConfig


class Counted:
    """In the place of a capture: calls the function, and says how often."""

    made, replayed = 0, 0

    def __init__(self, function, inputs, device, places):
        type(self).made += 1
        self.places, self._function = places, function

    def replay(self, inputs):
        type(self).replayed += 1
        return self._function(*inputs)


@pytest.fixture
def counted(monkeypatch):
    monkeypatch.setattr(cuda_graph, "_Capture", fresh := type("Counted", (Counted,), {}))
    return fresh


def capturable(function, held=tuple, possible=True):
    """A function of one tensor, captured as if that were possible here."""
    made = CapturedFunction(torch.device("cpu"))
    made._possible = possible

    def call(x):
        return made(function, (x,), held())

    call.captured = made
    return call


def test_on_a_cpu_a_function_is_called_and_never_captured(counted):
    double = capturable(lambda x: 2 * x, possible=CapturedFunction(torch.device("cpu"))._possible)
    assert [double(torch.tensor(float(n))).item() for n in range(6)] == [0, 2, 4, 6, 8, 10]
    assert not double.captured.is_captured
    assert counted.made == 0


def test_a_function_is_captured_once_after_it_has_been_called_some_times(counted):
    double = capturable(lambda x: 2 * x)
    for number in range(WARM_UP):
        assert double(torch.tensor(float(number))).item() == 2 * number
        assert not double.captured.is_captured
    assert [double(torch.tensor(float(n))).item() for n in range(4)] == [0, 2, 4, 6]
    assert (counted.made, counted.replayed) == (1, 4)


def test_other_shapes_are_called_before_they_are_captured_again(counted):
    double = capturable(lambda x: 2 * x)
    for _ in range(WARM_UP + 1):
        double(torch.zeros(2))
    for _ in range(WARM_UP):
        assert double(torch.ones(3)).tolist() == [2, 2, 2]
        assert not double.captured.is_captured
    double(torch.ones(3))
    assert (counted.made, counted.replayed) == (2, 2)


def test_what_reads_other_tensors_now_is_captured_again(counted):
    held = [torch.ones(2)]
    add = capturable(lambda x: x + held[0], held=lambda: held)
    for _ in range(WARM_UP + 2):
        add(torch.zeros(2))
    assert counted.made == 1
    held[0].fill_(3)  # in place: the capture sees it
    assert add(torch.zeros(2)).tolist() == [3, 3]
    assert counted.made == 1
    held[0] = torch.full((2,), 5.0)
    assert add(torch.zeros(2)).tolist() == [5, 5]
    assert counted.made == 2


def test_what_is_forgotten_is_called_before_it_is_captured_again(counted):
    double = capturable(lambda x: 2 * x)
    for _ in range(WARM_UP + 1):
        double(torch.zeros(2))
    double.captured.forget()
    for _ in range(WARM_UP):
        double(torch.zeros(2))
        assert not double.captured.is_captured
    double(torch.zeros(2))
    assert counted.made == 2


def test_what_cannot_be_captured_is_called_and_warned_of_once(monkeypatch):
    def refuse(*_):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(cuda_graph, "_Capture", refuse)
    double = capturable(lambda x: 2 * x)
    for _ in range(WARM_UP):
        double(torch.ones(1))
    with pytest.warns(UserWarning, match="could not be captured as a CUDA graph is slower: operation not permitted"):
        assert double(torch.ones(1)).item() == 2
    assert double(torch.ones(1)).item() == 2
    assert not double.captured.is_captured


def test_a_policy_that_learned_is_freed_at_once_and_can_be_pickled_and_copied(agent, transition):
    policy = AdaptivePolicy(agent, dataclasses.replace(ADAPTATIONS["paper"], batch_size=4))
    for _ in range(2):
        policy.observe(*transition)
    for other in (pickle.loads(pickle.dumps(policy)), copy.deepcopy(policy)):
        assert (other.act(transition[0]) == policy.act(transition[0])).all()
    left = weakref.ref(policy.model)
    gc.disable()
    try:
        del policy
        assert left() is None
    finally:
        gc.enable()


def test_a_learner_is_freed_at_once_and_can_be_pickled(agent, batch):
    sac = SAC(agent, 2, SACConfig())
    sac.update(batch, True)
    assert pickle.loads(pickle.dumps(sac)).update(batch, True).keys() == sac.update(batch, True).keys()
    left = weakref.ref(sac.target_networks)
    gc.disable()
    try:
        del sac
        assert left() is None
    finally:
        gc.enable()
