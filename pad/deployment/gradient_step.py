"""One gradient step of what moves."""

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from pad.cuda_graph import CapturedFunction
from pad.deployment.config import AdaptationConfig
from pad.deployment.model import CapturableModel, Model, Transition
from pad.optimization import load_optimizer

SLOTS = {"adam": {"step", "exp_avg", "exp_avg_sq"}, "sgd": set[str]()}
"""What an optimizer keeps for each parameter that it has moved."""


class GradientStep:
    """Moves parameters by a step of an optimizer of their own; captured on CUDA where the model allows it."""

    def __init__(self, model: Model, parameters: Sequence[nn.Parameter], config: AdaptationConfig) -> None:
        self._model, self._parameters, self._config = model, list(parameters), config
        self._capturable = _capturable(model, config)
        self._step_on = CapturedFunction[Tensor](model.device)
        self.optimizer = self._make_optimizer()

    def _make_optimizer(self) -> torch.optim.Optimizer:
        rate = self._config.learning_rate
        if self._config.optimizer == "sgd":
            return torch.optim.SGD(self._parameters, lr=rate, fused=True)
        return torch.optim.Adam(self._parameters, lr=rate, fused=True, capturable=self._capturable is not None)

    @property
    def is_captured(self) -> bool:
        return self._step_on.is_captured

    def __call__(self, transitions: Sequence[Transition], picks: Tensor, generator: torch.Generator) -> Tensor:
        """One step on `transitions[pick]` for each pick; the loss before it, NaN if it made anything not finite."""
        if self._capturable is None:
            return self._step(self._model.loss(transitions, picks, self._config, generator))
        inputs = self._capturable.inputs(transitions, picks, self._config, generator)
        return self._step_on(self._on_inputs, inputs, self._parameters)

    def _on_inputs(self, *inputs: Tensor) -> Tensor:
        assert self._capturable is not None
        return self._step(self._capturable.loss_of(inputs, self._config))

    def _step(self, loss: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        norms = torch._foreach_norm([parameter.detach() for parameter in self._parameters])
        finite = torch.stack(norms).isfinite().all()
        return loss.detach().masked_fill(~finite, math.nan)

    def reset(self) -> None:
        """The optimizer forgets what it has seen, as if it had made no step."""
        for slots in self.optimizer.state.values():
            for value in slots.values():
                if isinstance(value, Tensor):
                    value.zero_()  # in place: a captured step goes on with them

    def check_state(self, state: dict[str, Any]) -> None:
        """Whether `load_state_dict` takes a state; changes nothing.

        Raises:
            ValueError: when it is of another kind of optimizer, or of other parameters.
        """
        groups, wanted = state["param_groups"], len(self._parameters)
        kinds = {"adam" if "betas" in group else "sgd" for group in groups}
        if kinds != {self._config.optimizer}:
            raise ValueError(f"the state is of another optimizer than {self._config.optimizer}: {', '.join(kinds)}")
        if [len(group.get("params", ())) for group in groups] != [wanted]:
            raise ValueError(f"the state's optimizer does not move {wanted} parameters: {groups}")
        for index, slots in state["state"].items():
            if not 0 <= index < wanted:
                raise ValueError(f"the state's optimizer moves parameter {index}, there are {wanted}")
            shape, needed = self._parameters[index].shape, SLOTS[self._config.optimizer]
            if missing := needed - set(slots):
                raise ValueError(f"the state's optimizer lacks {', '.join(sorted(missing))} of parameter {index}")
            for name, value in slots.items():
                if isinstance(value, Tensor) and value.dim() and value.shape != shape:
                    raise ValueError(
                        f"the state's optimizer has {name} of shape {tuple(value.shape)} for parameter {index}, "
                        f"which has {tuple(shape)}"
                    )

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with an optimizer's state, at this setting's learning rate."""
        saved, own = deepcopy(state), self.optimizer.state_dict()["param_groups"]
        # Each PyTorch has settings of its own: those that an older file lacks are as this one begins.
        groups = [{**present, **group} for present, group in zip(own, saved["param_groups"], strict=True)]
        load_optimizer(self.optimizer, {**saved, "param_groups": groups})
        for group in self.optimizer.param_groups:
            group["lr"] = self._config.learning_rate
        for parameter, slots in self.optimizer.state.items():
            # A fused step reads all in one memory format, which a file does not keep.
            for name, value in slots.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    slots[name] = torch.empty_like(parameter).copy_(value)
        self._step_on.forget()


def _capturable(model: Model, config: AdaptationConfig) -> CapturableModel | None:
    if model.device.type != "cuda" or config.optimizer != "adam" or not isinstance(model, CapturableModel):
        return None
    return model if model.is_capturable(config) else None
