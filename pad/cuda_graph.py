"""Functions of tensors that a GPU runs again and again: captured once as a CUDA graph, then replayed."""

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

Output = TypeVar("Output")
WARM_UP = 3
"""Calls on CUDA before the one that is captured: libraries choose and prepare their kernels in them."""


class CapturedFunction(Generic[Output]):
    """Calls a function; on CUDA, from the fourth call in the same shapes on, replays a CUDA graph of it.

    The work of a small network on a GPU is hundreds of kernels of a few microseconds each, and to start them one by one
    takes longer than they do. A CUDA graph starts them all at once. The function must therefore do the same at each
    call, read nothing back from the device, and write to tensors that stay where they are. What cannot be captured is
    called as it is, and warned of once. On other devices the function is just called.

    It keeps neither the function nor what that works on, so whoever owns both can be freed, copied and pickled; a copy
    begins without a graph.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._possible = device, device.type == "cuda"
        self.forget()

    def __reduce__(self) -> tuple[type["CapturedFunction[Output]"], tuple[torch.device]]:
        return type(self), (self._device,)

    def forget(self) -> None:
        """Capture anew: what the function reads or writes is elsewhere now."""
        self._called, self._shapes = 0, tuple[tuple[torch.Size, torch.dtype], ...]()
        self._capture: _Capture[Output] | None = None

    @property
    def is_captured(self) -> bool:
        return self._capture is not None

    def __call__(
        self, function: Callable[..., Output], inputs: tuple[Tensor, ...], held: Sequence[Tensor] = ()
    ) -> Output:
        """The function of these inputs, which are brought to the device.

        Args:
            function: of tensors on the device, the same at each call; what it returns is overwritten by the next.
            held: tensors that it reads or writes, and that the caller may replace by others: it is then captured anew.
        """
        if self._possible and self._is_warm(inputs):
            try:
                return self._newest(function, inputs, held).replay(inputs)
            except RuntimeError as error:
                warnings.warn(f"what could not be captured as a CUDA graph is slower: {error}", stacklevel=2)
                self._possible, self._capture = False, None
        return function(*(part.to(self._device) for part in inputs))

    def _is_warm(self, inputs: tuple[Tensor, ...]) -> bool:
        shapes = tuple((part.shape, part.dtype) for part in inputs)
        if shapes != self._shapes:
            self.forget()
            self._shapes = shapes
        self._called += 1
        return self._called > WARM_UP

    def _newest(
        self, function: Callable[..., Output], inputs: tuple[Tensor, ...], held: Sequence[Tensor]
    ) -> "_Capture[Output]":
        places = tuple(tensor.data_ptr() for tensor in held)
        if self._capture is None or self._capture.places != places:
            self._capture = _Capture(function, inputs, self._device, places)
        return self._capture


_capturing = threading.Lock()


class _Capture(Generic[Output]):
    def __init__(
        self,
        function: Callable[..., Output],
        inputs: tuple[Tensor, ...],
        device: torch.device,
        places: tuple[int, ...],
    ) -> None:
        self.places = places
        self._inputs = tuple(torch.empty_like(part, device=device).copy_(part) for part in inputs)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may go on using the device meanwhile: one of them acts.
        # One capture at a time, each on a stream of its own device.
        with _capturing, torch.cuda.device(device):
            stream = torch.cuda.Stream(device)
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._output = function(*self._inputs)

    def replay(self, inputs: tuple[Tensor, ...]) -> Output:
        for kept, part in zip(self._inputs, inputs, strict=True):
            kept.copy_(part)
        self._graph.replay()
        return self._output
