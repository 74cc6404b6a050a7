"""Pictures of results, for people who would rather look than read."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from pad.evaluation import Episode
from pad.statistics import mean_interval

COLORS = {"frozen": "#56b4e9", "adapted": "#e69f00", "null": "#999999"}
FORMATS = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")
"""Endings of the files that figures are written to."""


def draw_comparison(path: Path, by_shift: dict[str, dict[str, list[Episode]]], title: str, sharey: bool = True) -> None:
    """Returns of every episode, joined where all arms met it, with means and 95 % intervals over episodes.

    Args:
        sharey: whether returns are of one scale everywhere.
    """
    width = max(2.6, 1.3 * max(map(len, by_shift.values()))) * len(by_shift) + 1
    figure, axes = plt.subplots(1, len(by_shift), figsize=(width, 4), sharey=sharey, squeeze=False)
    for axis, (shift, arms) in zip(axes[0], by_shift.items(), strict=True):
        returns = {name: [episode.episode_return for episode in episodes] for name, episodes in arms.items()}
        axis.plot(range(len(returns)), list(returns.values()), color="#888888", alpha=0.3, linewidth=0.8)
        for position, (name, values) in enumerate(returns.items()):
            interval = mean_interval(values)
            axis.scatter(np.full(len(values), position), values, s=12, color=COLORS[name], alpha=0.6)
            errors = [[interval.mean - interval.low], [interval.high - interval.mean]]
            axis.errorbar(position, interval.mean, errors, fmt="_", color="black", capsize=5, markersize=22)
            axis.annotate(f"{interval.mean:.4g}", (position, interval.mean), (14, 2), textcoords="offset points")
        axis.set_title(shift)
        axis.set_xticks(range(len(returns)), list(returns))
        axis.set_xlim(-0.5, len(returns) - 0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("episode return")
    figure.suptitle(title)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
