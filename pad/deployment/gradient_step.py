"""One gradient step of what moves: on CUDA recorded once and then replayed."""

import math
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pad.deployment.config import AdaptationConfig
from pad.deployment.model import Model, RecordableModel, Transition

WARM_UP = 3
"""Steps on CUDA before the one that is recorded: libraries choose and prepare their kernels in them."""


class GradientStep:
    """Moves parameters by a step of an optimizer of their own.

    A step of a small network on a GPU is a few hundred kernels of some microseconds each, and starting them one by one
    takes longer than they do. So on CUDA, where the model allows it, they are recorded (a CUDA graph) and from then on
    started all at once. The recording belongs to the tensors that the parameters held; with others another is made.
    """

    def __init__(self, model: Model, parameters: Sequence[nn.Parameter], config: AdaptationConfig) -> None:
        self._model, self._parameters, self._config = model, list(parameters), config
        self._recordable = _recordable(model, config)
        self._warm = 0
        self._recording: _Recording | None = None
        self.optimizer = self._make_optimizer()

    def _make_optimizer(self) -> torch.optim.Optimizer:
        rate = self._config.learning_rate
        if self._config.optimizer == "sgd":
            return torch.optim.SGD(self._parameters, lr=rate, fused=True)
        return torch.optim.Adam(self._parameters, lr=rate, fused=True, capturable=self._recordable is not None)

    def __call__(self, transitions: Sequence[Transition], picks: Tensor, generator: torch.Generator) -> Tensor:
        """One step on `transitions[pick]` for each pick; the loss before it, NaN if it made anything not finite."""
        model = self._recordable
        if model is None:
            return self._step(self._model.loss(transitions, picks, self._config, generator))
        inputs = model.inputs(transitions, picks, self._config, generator)
        if self._warm < WARM_UP:
            self._warm += 1
        else:
            try:
                return self._recorded(model, inputs).replay(inputs)
            except RuntimeError as error:
                warnings.warn(f"adaptation goes on without a recording of its step: {error}", stacklevel=2)
                self._recordable = self._recording = None
        return self._step_on(model, tuple(part.to(model.device) for part in inputs))

    def _recorded(self, model: RecordableModel, inputs: tuple[Tensor, ...]) -> "_Recording":
        if self._recording is None or not self._recording.is_of(self._parameters):
            self._recording = _Recording(partial(self._step_on, model), inputs, self._parameters)
        return self._recording

    def _step_on(self, model: RecordableModel, inputs: tuple[Tensor, ...]) -> Tensor:
        return self._step(model.loss_of(inputs, self._config))

    def _step(self, loss: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        finite = torch.stack([parameter.detach().sum() for parameter in self._parameters]).isfinite().all()
        return loss.detach().masked_fill(~finite, math.nan)

    def reset(self) -> None:
        """The optimizer forgets what it has seen, as if it had made no step."""
        for slots in self.optimizer.state.values():
            for value in slots.values():
                if isinstance(value, Tensor):
                    value.zero_()  # in place: a recording goes on with them

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with an optimizer's state, at this setting's learning rate."""
        self.optimizer.load_state_dict(deepcopy(state))
        for group in self.optimizer.param_groups:
            group["lr"] = self._config.learning_rate
            if "capturable" in group:
                group["capturable"] = self._recordable is not None  # saved on another device, perhaps
        self._recording = None  # the state has other tensors now


def _recordable(model: Model, config: AdaptationConfig) -> RecordableModel | None:
    if model.device.type != "cuda" or config.optimizer != "adam" or not isinstance(model, RecordableModel):
        return None
    return model if model.is_recordable(config) else None


class _Recording:
    """The kernels of a function of tensors, and the tensors that they read and write."""

    def __init__(
        self,
        function: Callable[[tuple[Tensor, ...]], Tensor],
        inputs: tuple[Tensor, ...],
        parameters: Sequence[nn.Parameter],
    ) -> None:
        device = parameters[0].device
        self._places = _places(parameters)
        self._inputs = tuple(torch.empty_like(part, device=device).copy_(part) for part in inputs)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may go on using the device meanwhile: one of them acts.
        with torch.cuda.device(device), torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._output = function(self._inputs)

    def is_of(self, parameters: Sequence[nn.Parameter]) -> bool:
        """Whether these hold the same tensors as when it was made."""
        return self._places == _places(parameters)

    def replay(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Run on other inputs; the output is overwritten by the next call."""
        for kept, part in zip(self._inputs, inputs, strict=True):
            kept.copy_(part)
        self._graph.replay()
        return self._output


def _places(parameters: Sequence[nn.Parameter]) -> tuple[int, ...]:
    return tuple(parameter.data_ptr() for parameter in parameters)
