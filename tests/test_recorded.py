"""When a function is recorded, with a recording that only counts: real ones need CUDA (test_cuda)."""

import pytest
import torch

from pad import recorded
from pad.recorded import WARM_UP, Recorded


class Counted:
    """In the place of a recording: calls the function, and says how often."""

    made, replayed = 0, 0

    def __init__(self, function, inputs, device, places):
        type(self).made += 1
        self.places, self._function = places, function

    def replay(self, inputs):
        type(self).replayed += 1
        return self._function(*inputs)


@pytest.fixture
def counted(monkeypatch):
    monkeypatch.setattr(recorded, "_Recording", fresh := type("Counted", (Counted,), {}))
    return fresh


def recordable(function, **options):
    """As if it were on CUDA."""
    made = Recorded(function, torch.device("cpu"), **options)
    made._possible = True
    return made


def test_on_a_cpu_a_function_is_called_and_never_recorded(counted):
    double = Recorded(lambda x: 2 * x, torch.device("cpu"))
    assert [double(torch.tensor(float(n))).item() for n in range(6)] == [0, 2, 4, 6, 8, 10]
    assert not double.is_recorded
    assert counted.made == 0


def test_a_function_is_recorded_once_after_it_has_been_called_some_times(counted):
    double = recordable(lambda x: 2 * x)
    for number in range(WARM_UP):
        assert double(torch.tensor(float(number))).item() == 2 * number
        assert not double.is_recorded
    assert [double(torch.tensor(float(n))).item() for n in range(4)] == [0, 2, 4, 6]
    assert (counted.made, counted.replayed) == (1, 4)


def test_other_shapes_are_called_before_they_are_recorded_again(counted):
    double = recordable(lambda x: 2 * x)
    for _ in range(WARM_UP + 1):
        double(torch.zeros(2))
    for _ in range(WARM_UP):
        assert double(torch.ones(3)).tolist() == [2, 2, 2]
        assert not double.is_recorded
    double(torch.ones(3))
    assert (counted.made, counted.replayed) == (2, 2)


def test_what_reads_other_tensors_now_is_recorded_again(counted):
    held = [torch.ones(2)]
    add = recordable(lambda x: x + held[0], held=lambda: held)
    for _ in range(WARM_UP + 2):
        add(torch.zeros(2))
    assert counted.made == 1
    held[0].fill_(3)  # in place: the recording sees it
    assert add(torch.zeros(2)).tolist() == [3, 3]
    assert counted.made == 1
    held[0] = torch.full((2,), 5.0)
    assert add(torch.zeros(2)).tolist() == [5, 5]
    assert counted.made == 2


def test_what_is_forgotten_is_called_before_it_is_recorded_again(counted):
    double = recordable(lambda x: 2 * x)
    for _ in range(WARM_UP + 1):
        double(torch.zeros(2))
    double.forget()
    for _ in range(WARM_UP):
        double(torch.zeros(2))
        assert not double.is_recorded
    double(torch.zeros(2))
    assert counted.made == 2


def test_what_cannot_be_recorded_is_called_and_warned_of_once(monkeypatch):
    def refuse(*_):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(recorded, "_Recording", refuse)
    double = recordable(lambda x: 2 * x)
    for _ in range(WARM_UP):
        double(torch.ones(1))
    with pytest.warns(UserWarning, match="could not be recorded is slower: operation not permitted"):
        assert double(torch.ones(1)).item() == 2
    assert double(torch.ones(1)).item() == 2
    assert not double.is_recorded
