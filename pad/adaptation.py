"""Deployment with and without learning: two policies behind the same three calls."""

import math
from collections import deque
from copy import deepcopy
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from pad.agent import Agent
from pad.augmentations import center_crop
from pad.gate import Gate
from pad.precision import Precision
from pad.self_supervision import self_supervised_loss, self_supervised_loss_on_windows
from pad.types import Actions, Batch, Metrics, Sources
from pad.windows import Windows

Moves = Literal["color", "convolutions", "convolutions_and_head"]


@dataclass(frozen=True)
class AdaptationConfig:
    """How the encoder keeps learning after deployment."""

    moves: Moves = "color"
    """What may learn. color: a matrix and an offset over the colours of each frame, before the convolutions.
    convolutions: those that all heads share. convolutions_and_head: these and the self-supervised head and branch,
    as the authors have it."""
    layers: int | None = None
    """With convolutions: only this many of the shared ones, from the first. Default: all."""
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-2
    batch_size: int = 32
    """Random crops in each gradient step."""
    crop_grid: Literal["pixel", "stride"] = "stride"
    """Where crops may begin: anywhere, as the authors have it, or at multiples of the convolutions' stride. All crops
    of a picture then share one encoding, so that many cost hardly more than one."""
    memory: int = 64
    """Recent transitions that the crops are drawn from; the newest is always among them. 1: the newest alone."""
    transitions: int | None = 4
    """How many of them each gradient step draws; its crops are shared out among them. None: one for each crop."""
    updates: int = 1
    """Gradient steps after each decision."""
    precision: Precision = "float32"
    """Number format of the convolutions while learning; acting is always in float32."""
    gate: float | None = 1.0
    """Learn only while the running self-supervised loss exceeds this many times the usual one of training, which the
    checkpoint remembers. None: learn always, as the authors have it."""
    reset: Literal["episode", "never"] = "episode"
    """When the trained weights come back: at each new episode, or only when `restore` is called."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "memory", "transitions", "updates"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.gate is not None and not self.gate > 0:
            raise ValueError(f"gate must be positive or None, got {self.gate}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if self.layers is not None and (self.moves != "convolutions" or self.layers < 1):
            raise ValueError(
                f"layers must be at least 1 and goes with moves=convolutions, got {self.layers} with {self.moves}"
            )


ADAPTATIONS = MappingProxyType(
    {
        "default": AdaptationConfig(),
        # Hansen et al. (2021): the newest transition under 32 crops, one Adam step, head and branch move too.
        "paper": AdaptationConfig(
            moves="convolutions_and_head",
            optimizer="adam",
            learning_rate=1e-3,
            batch_size=32,
            memory=1,
            transitions=None,
            crop_grid="pixel",
            updates=1,
            gate=None,
        ),
    }
)
"""Named settings. `default` did best on validation shifts: see docs/adaptation.md."""


@dataclass(frozen=True)
class Draw:
    """What one gradient step learns from: windows of images, first those of observations, then those of next ones."""

    images: Sources
    windows: Windows
    action: Actions


class FrozenPolicy:
    """Acts as it was trained, and learns nothing."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    def reset(self) -> None:
        """A new episode begins."""

    def act(self, obs: np.ndarray) -> np.ndarray:
        """The most likely action, in [-1, 1]."""
        return self.agent.act(obs)

    def observe(self, obs: np.ndarray, action: np.ndarray, next_obs: np.ndarray) -> Metrics:
        """Nothing is learned."""
        return {}


class AdaptivePolicy:
    """Keeps the encoder of a deployed policy learning, with no reward.

    Works on its own copy, so the trained agent it was given never changes. Sees observations and
    actions, never a reward and never the name of the shift. `parameter_names` are all that moves.

    Raises:
        ValueError: when the agent has no self-supervised head, fewer layers than are to move, or no calibration
            for a gate.
    """

    def __init__(self, agent: Agent, config: AdaptationConfig | None = None, seed: int = 0) -> None:
        self.config = config or ADAPTATIONS["default"]
        if agent.inverse_dynamics is None:
            raise ValueError("this agent cannot adapt: it was trained without a self-supervised head")
        self._gate = _make_gate(agent, self.config)
        self.agent = deepcopy(agent).requires_grad_(False)
        self._moving = _moving_parameters(self.agent, self.config)
        self._trained = {name: parameter.clone() for name, parameter in self._moving.items()}
        for parameter in self._moving.values():
            parameter.requires_grad_(True)
        self._seed = seed
        self.restore()

    @property
    def parameter_names(self) -> list[str]:
        """What moves, by name."""
        return list(self._moving)

    def reset(self) -> None:
        """A new episode begins; the trained weights come back if the settings say so."""
        if self._gate is not None:
            self._gate.reset()
        if self.config.reset == "episode":
            self.restore()

    @torch.no_grad()
    def restore(self) -> None:
        """Return to the trained weights, with a fresh optimizer and an empty memory."""
        for name, parameter in self._moving.items():
            parameter.copy_(self._trained[name])
        self._optimizer = self._make_optimizer()
        self._memory: deque[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = deque(maxlen=self.config.memory)
        # The same draws after every return, so an episode does not depend on those before it.
        self._generator = torch.Generator().manual_seed(self._seed)

    def _make_optimizer(self) -> torch.optim.Optimizer:
        if self.config.optimizer == "adam":
            return torch.optim.Adam(self._moving.values(), lr=self.config.learning_rate, fused=True)
        return torch.optim.SGD(self._moving.values(), lr=self.config.learning_rate, fused=True)

    def act(self, obs: np.ndarray) -> np.ndarray:
        """The most likely action of the adapted policy, in [-1, 1]."""
        return self.agent.act(obs)

    def observe(self, obs: np.ndarray, action: np.ndarray, next_obs: np.ndarray) -> Metrics:
        """Learn from one transition, if the gate is open.

        Returns:
            `updates`, the gradient steps that were made, and `self_supervised_loss`: with a gate that of the
            transition itself, else that of what the last step learned from.

        Raises:
            ValueError: when an observation has another shape or dtype than in training.
        """
        device = self.agent.device
        # Copies: a control loop may use its arrays again.
        before, after = (torch.tensor(self.agent.checked(image), device=device) for image in (obs, next_obs))
        self._memory.append((before, torch.tensor(action, dtype=torch.float32, device=device), after))
        config = self.config
        if self._gate is not None:
            measured = measure_loss(self.agent, obs, action, next_obs)
            if not self._gate.is_open(measured):
                return {"self_supervised_loss": measured, "updates": 0}
        for _ in range(config.updates):
            drawn = self._draw()
            loss = self_supervised_loss_on_windows(
                self.agent, drawn.images, drawn.windows, drawn.action, config.precision
            )
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
        return {
            "self_supervised_loss": loss.item() if self._gate is None else measured,
            "updates": config.updates,
        }

    def _draw(self) -> "Draw":
        """Windows of remembered transitions, the newest always among them; each observation is cropped by itself."""
        count, newest = self.config.batch_size, len(self._memory) - 1
        distinct = min(count, self.config.transitions or count)
        picks = torch.randint(len(self._memory), (distinct,), generator=self._generator)
        picks[0] = newest
        picks = picks.repeat(-(-count // distinct))[:count]
        used, index = picks.unique(return_inverse=True)
        obs, action, next_obs = (torch.stack([self._memory[i][part] for i in used.tolist()]) for part in range(3))
        top, left = (self._offsets(extent, 2 * count) for extent in obs.shape[2:])
        windows = Windows(torch.cat([index, index + len(used)]), top, left, self.agent.config.encoder.crop_size)
        return Draw(torch.cat([obs, next_obs]), windows, action[index.to(action.device)])

    def _offsets(self, extent: int, count: int) -> torch.Tensor:
        encoder = self.agent.config.encoder
        step = math.prod(encoder.strides) if self.config.crop_grid == "stride" else 1
        places = (extent - encoder.crop_size) // step + 1
        return step * torch.randint(places, (count,), generator=self._generator)

    def state_dict(self) -> dict[str, Any]:
        """The adapted weights and their optimizer."""
        weights = {name: parameter.detach().clone() for name, parameter in self._moving.items()}
        return {"weights": weights, "optimizer": deepcopy(self._optimizer.state_dict())}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from adapted weights."""
        for name, parameter in self._moving.items():
            parameter.copy_(state["weights"][name])
        self._optimizer.load_state_dict(deepcopy(state["optimizer"]))


class MeasuredPolicy:
    """Another policy, with the self-supervised loss of each transition as that policy sees it before it learns.

    The loss is that of the newest transition under the centre crop, so those of two policies compare.
    """

    def __init__(self, policy: FrozenPolicy | AdaptivePolicy) -> None:
        self._policy = policy

    def reset(self) -> None:
        self._policy.reset()

    def act(self, obs: np.ndarray) -> np.ndarray:
        return self._policy.act(obs)

    def observe(self, obs: np.ndarray, action: np.ndarray, next_obs: np.ndarray) -> Metrics:
        """The policy's own metrics, with `self_supervised_loss` measured in the same way for all."""
        agent = self._policy.agent
        if agent.inverse_dynamics is None:
            return self._policy.observe(obs, action, next_obs)
        loss = measure_loss(agent, obs, action, next_obs)
        return {**self._policy.observe(obs, action, next_obs), "self_supervised_loss": loss}


@torch.no_grad()
def measure_loss(agent: Agent, obs: np.ndarray, action: np.ndarray, next_obs: np.ndarray) -> float:
    """Self-supervised loss of one transition under the centre crop, which is what a policy acts on."""
    size, device = agent.config.encoder.crop_size, agent.device
    before, after = (center_crop(torch.tensor(image, device=device)[None], size) for image in (obs, next_obs))
    actions = torch.tensor(action, dtype=torch.float32, device=device)[None]
    unused = torch.zeros(1, device=device)
    return self_supervised_loss(agent, Batch(before, actions, unused, unused.bool(), after)).item()


def _make_gate(agent: Agent, config: AdaptationConfig) -> Gate | None:
    if config.gate is None:
        return None
    if agent.calibration is None:
        raise ValueError(
            "no calibration for a gate: scripts/calibrate.py CHECKPOINT measures it; gate None asks for none"
        )
    return Gate(agent.calibration, config.gate)


def _moving_parameters(agent: Agent, config: AdaptationConfig) -> dict[str, nn.Parameter]:
    """The parameters that a setting lets move, by their names in the agent."""
    layers = len(agent.encoder.convolutions) if config.layers is None else config.layers
    if layers > len(agent.encoder.convolutions):
        raise ValueError(f"layers must be at most {len(agent.encoder.convolutions)} for this agent, got {layers}")
    convolutions = tuple(f"encoder.convolutions.{index}." for index in range(layers))
    prefixes: dict[Moves, tuple[str, ...]] = {
        "color": ("encoder.color_",),
        "convolutions": convolutions,
        "convolutions_and_head": (*convolutions, "inverse_dynamics."),
    }
    return {n: p for n, p in agent.named_parameters() if n.startswith(prefixes[config.moves])}
