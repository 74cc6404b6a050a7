"""Words that every module shares: shapes, one batch of experience, and what a policy answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor

Images = UInt8[Tensor, "batch channels height width"]
"""0 to 255, successive frames stacked on channels."""
Filtered = Images | Float32[Tensor, "batch channels height width"]
"""Images as a network takes them: uint8 0 to 255, or float32 once a filter has been over them."""
Sources = UInt8[Tensor, "image channels height width"] | Float32[Tensor, "image channels height width"]
"""Images that a batch of windows shows, each perhaps many times."""
Crops = UInt8[Tensor, "batch channels size size"]
"""Square windows of images."""
FilteredCrops = Crops | Float32[Tensor, "batch channels size size"]
Features = Float[Tensor, "batch filters rows columns"]
"""A feature map of the convolutions."""
Vectors = Float[Tensor, "batch features"]
Projected = Float[Tensor, "batch projected"]
Actions = Float[Tensor, "batch action"]
"""Each in [-1, 1]."""
Scalars = Float[Tensor, " batch"]
Flags = Bool[Tensor, " batch"]
Indices = Int64[Tensor, " batch"]
Scalar = Float[Tensor, ""]

Metrics = dict[str, float | int]


@dataclass(frozen=True)
class Batch:
    """Transitions side by side. Observations are images (uint8) or state vectors (float)."""

    obs: Tensor
    action: Actions
    reward: Scalars
    terminated: Flags
    """True where the episode ended in a terminal state; a time limit is not one."""
    next_obs: Tensor
    extras: dict[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Policy(Protocol):
    """What a control loop needs: act, tell what came of it, and say when an episode begins."""

    def reset(self) -> None:
        """A new episode begins."""

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Action in [-1, 1] for one observation: uint8 (channels, height, width)."""

    def observe(self, obs: np.ndarray, action: np.ndarray, next_obs: np.ndarray) -> Metrics:
        """Take note of one transition; returns what was measured on the way."""


@runtime_checkable
class Drifting(Protocol):
    """A policy that says how far its weights are from the trained ones."""

    @property
    def drift(self) -> float:
        """The distance, as a share of the trained weights' norm."""


State = Mapping[str, object]
"""Plain containers, numbers and tensors: what a checkpoint may hold."""


def read(measured: Mapping[str, Tensor]) -> Metrics:
    """Values of scalar tensors: all at once, since each reading waits for a GPU."""
    return dict(zip(measured, torch.stack([value.detach() for value in measured.values()]).tolist(), strict=True))
