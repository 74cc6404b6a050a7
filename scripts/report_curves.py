"""Return and loss of one episode as lines that follow its video; drawn here, moved in the page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from results_folder import MetEpisode

from pad.video import smooth

WIDTH, HEIGHT = 1000, 100
POINTS = 250
"""More cannot be told apart on a screen."""


@dataclass(frozen=True)
class Curve:
    """Lines of all arms in one frame, by policy."""

    name: str
    largest: float
    """Value at the upper edge; the lower is 0."""
    lines: dict[str, str]
    """Points of an SVG polyline in a box of `WIDTH` by `HEIGHT`."""


def make_curves(arms: dict[str, MetEpisode]) -> list[Curve]:
    """Return so far, and the self-supervised loss where it was measured, its mean over ten decisions."""
    returns = {name: np.cumsum(episode.rewards) for name, episode in arms.items() if episode.rewards}
    losses = {
        name: smooth(np.nan_to_num(episode.self_supervised_loss, posinf=0, neginf=0).tolist())
        for name, episode in arms.items()
        if episode.self_supervised_loss
    }
    named = {"Return so far": returns, "Self-supervised loss": losses}
    return [make_curve(name, values) for name, values in named.items() if values]


def make_curve(name: str, values: dict[str, np.ndarray]) -> Curve:
    largest = max(float(np.max(line)) for line in values.values())
    largest = largest if largest > 0 else 1.0
    longest = max(len(line) for line in values.values())
    return Curve(name, largest, {policy: _points(line, largest, longest) for policy, line in values.items()})


def _points(line: Sequence[float] | np.ndarray, largest: float, longest: int) -> str:
    chosen = np.unique(np.linspace(0, len(line) - 1, min(POINTS, len(line))).round().astype(int))
    x = chosen * WIDTH / max(longest - 1, 1)
    y = HEIGHT * (1 - np.asarray(line)[chosen] / largest)
    return " ".join(f"{a:.0f},{b:.1f}" for a, b in zip(x, y, strict=True))
