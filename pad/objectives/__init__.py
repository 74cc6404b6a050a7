"""Self-supervised objectives: losses that go on without a reward."""

from collections.abc import Callable
from typing import Literal

from torch import nn

from pad.encoder import Projection
from pad.objectives.alignment import Alignment
from pad.objectives.contrastive import Contrastive
from pad.objectives.forward_dynamics import ForwardDynamics
from pad.objectives.inverse_dynamics import InverseDynamics
from pad.objectives.objective import Objective
from pad.objectives.rotation import Rotation
from pad.objectives.views import Networks, Views

HeadName = Literal["rotation", "contrastive", "forward_dynamics"]
"""Objectives with a head that an agent may have beside that of inverse dynamics."""
ObjectiveName = Literal[
    "inverse_dynamics", "rotation", "contrastive", "forward_dynamics", "alignment", "shuffled_actions"
]
"""All that a deployed policy may learn by. shuffled_actions is a control: inverse dynamics of wrong actions."""


def make_head(
    name: HeadName, branch: Callable[[], nn.Sequential], projection: Callable[[], Projection], features: int,
    actions: int, hidden: int,
) -> Objective:  # fmt: skip
    """An objective with a fresh head of its own.

    Args:
        branch, projection: make what lies between the shared convolutions and the head.
        features: that a projection gives.
    """
    if name == "rotation":
        return Rotation(branch(), projection(), features, hidden)
    if name == "contrastive":
        return Contrastive(branch(), projection(), features)
    return ForwardDynamics(features, actions, hidden)


__all__ = [
    "Alignment",
    "Contrastive",
    "ForwardDynamics",
    "HeadName",
    "InverseDynamics",
    "Networks",
    "Objective",
    "ObjectiveName",
    "Rotation",
    "Views",
    "make_head",
]
