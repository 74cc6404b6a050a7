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
"""Objectives that a deployed policy may learn by. shuffled_actions is a control: inverse dynamics of wrong actions."""


def make_head(
    name: HeadName, branch: Callable[[], nn.Sequential], projection: Callable[[], Projection], features: int,
    actions: int, hidden: int,
) -> Objective:  # fmt: skip
    """An objective with a fresh head of its own.

    Args:
        branch: makes convolutions of the head's own, which end in flat features.
        projection: makes a projection of these features.
        features: numbers that a projection gives for each image.
        actions: dimensions of an action.
        hidden: units in each of the two hidden layers of a head.
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
