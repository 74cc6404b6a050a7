"""Pictures of a report: SVG inside the page, in its font and in the colours of its theme."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import matplotlib
from figures import COLORS

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from report_lifelong import Course
from report_rows import Aggregate, Meeting, strata
from results_folder import FROZEN

from pad.statistics import Band, Interval, gain_over_time, profile_band

PALETTE = (COLORS["frozen"], COLORS["adapted"], "#009e73", "#cc79a7", "#0072b2", "#d55e00")
"""Told apart by people who see colours differently, too; the page has a shade of each for either theme."""
MARKERS, DASHES = "osD^vP", ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
INK = "#010203"
"""Stands for the colour of the page's text."""
STYLE = {
    "svg.fonttype": "none", "text.parse_math": False, "font.size": 11, "axes.titlesize": 11, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1.6, "savefig.transparent": True,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """One figure, in words too."""

    name: str
    title: str
    description: str
    """What a reader without eyes on it needs to know."""
    svg: str
    png: bytes


def draw(name: str, title: str, description: str, size: tuple[float, float], plot: Callable[[Axes], None]) -> Picture:
    """A picture of one pair of axes.

    Args:
        size: width and height in pixels of the page at full size.
    """
    with plt.rc_context({**STYLE, "svg.hashsalt": name}):
        figure, axes = plt.subplots(figsize=(size[0] / 72, size[1] / 72), layout="constrained")
        plot(axes)
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        figure.savefig(png, format="png", dpi=120, transparent=False)
        plt.close(figure)
    return Picture(name, title, description, follow_theme(svg.getvalue(), name), png.getvalue())


def follow_theme(svg: str, name: str) -> str:
    """An SVG for inside a page: its colours are the page's, and its ids no other picture's."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg [^>]*?) height="[^"]*"', r'\1 aria-hidden="true" focusable="false"', svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    for place, color in enumerate(PALETTE):
        svg = svg.replace(color, f"var(--arm-{place})")
    return svg.replace(INK, "currentColor")


def color_places(policies: Sequence[str]) -> dict[str, int]:
    """Which colour each policy has; the frozen one always the first."""
    others = [policy for policy in dict.fromkeys(policies) if policy != FROZEN]
    return {FROZEN: 0, **{policy: 1 + place % (len(PALETTE) - 1) for place, policy in enumerate(others)}}


def draw_aggregates(aggregates: Sequence[Aggregate], places: dict[str, int]) -> list[Picture]:
    """Interquartile means, and probabilities of improvement where anything adapts."""
    shifts = list(dict.fromkeys(found.shift for found in aggregates))
    middle = {(a.shift, a.policy): a.interquartile_mean for a in aggregates}
    chance = {(a.shift, a.policy): a.improvement for a in aggregates if a.improvement is not None}
    pictures = [draw_intervals("iqm", "Interquartile mean of the return", shifts, middle, places, "return", None)]
    if chance:
        title = "Probability of improvement over frozen"
        pictures.append(draw_intervals("improvement", title, shifts, chance, places, "probability", 0.5))
    return pictures


def draw_intervals(
    name: str,
    title: str,
    shifts: Sequence[str],
    found: dict[tuple[str, str], Interval],
    places: dict[str, int],
    label: str,
    level: float | None,
) -> Picture:
    """Numbers with intervals, a line of the picture for each shift; `level` is where nothing is gained."""
    policies = list(dict.fromkeys(policy for _, policy in found))
    digits = 2 if level is not None else 0
    texts = [f"{shift}, {policy} {i.mean:.{digits}f} [{i.low:.{digits}f}, {i.high:.{digits}f}]"
             for (shift, policy), i in found.items()]  # fmt: skip

    def plot(axes: Axes) -> None:
        if level is not None:
            axes.axvline(level, color=INK, linewidth=0.8, linestyle=":")
            axes.set_xlim(0, 1)
        for order, policy in enumerate(policies):
            offset = (order - (len(policies) - 1) / 2) * min(0.22, 0.7 / len(policies))
            there = [(place + offset, found[shift, policy]) for place, shift in enumerate(shifts)
                     if (shift, policy) in found]  # fmt: skip
            color, marker = PALETTE[places[policy]], MARKERS[places[policy]]
            axes.hlines(
                [y for y, _ in there], [i.low for _, i in there], [i.high for _, i in there], color, linewidth=2
            )
            axes.plot([i.mean for _, i in there], [y for y, _ in there], marker, color=color, markersize=5)
        axes.set_yticks(range(len(shifts)), shifts)
        axes.set_ylim(len(shifts) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(label)

    return draw(name, title, "; ".join(texts), (400, 60 + len(shifts) * (20 + 6 * len(places))), plot)


def draw_profiles(met: dict[str, list[Meeting]], places: dict[str, int]) -> list[Picture]:
    """Share of episodes whose return is above each threshold, a picture for each name."""
    returns = [max(cell.returns) for some in met.values() for meeting in some for cell in meeting.values()]
    thresholds = np.linspace(0, max([1e-9, *returns]), 51)
    pictures = []
    for name, some in met.items():
        bands = {policy: profile_band(strata(some, policy), thresholds) for policy in some[0]}
        at = thresholds[25]
        words = ", ".join(f"{policy} {band.value[25]:.0%}" for policy, band in bands.items())
        description = f"{name}: share of episodes with a return above {at:.0f}: {words}"

        def plot(axes: Axes, bands: dict[str, Band] = bands) -> None:
            plot_bands(axes, bands, places, "return τ", "share above τ")
            axes.set_ylim(0, 1.02)

        pictures.append(draw(f"profile-{len(pictures)}", name, description, (270, 190), plot))
    return pictures


def draw_gains(met: dict[str, list[Meeting]], places: dict[str, int]) -> list[Picture]:
    """How far each policy's return is ahead of the frozen one's as the episode goes on, a picture for each shift."""
    pictures, found = [], {shift: gains(some) for shift, some in met.items()}
    reach = [(band.low.min(), band.high.max()) for bands in found.values() for band in bands.values()]
    if not reach:
        return []
    low, high = min(low for low, _ in reach), max(high for _, high in reach)
    for shift, bands in found.items():
        words = ", ".join(
            f"{policy} {band.value[len(band.at) // 2]:+.0f} at half of the episode and {band.value[-1]:+.0f} at its end"
            for policy, band in bands.items()
        )

        def plot(axes: Axes, bands: dict[str, Band] = bands) -> None:
            axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
            plot_bands(axes, bands, places, "share of the episode", "return ahead")
            axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low) + 1e-9)

        pictures.append(draw(f"gain-{len(pictures)}", shift, f"{shift}: {words}", (270, 190), plot))
    return pictures


def gains(met: Sequence[Meeting]) -> dict[str, Band]:
    """Gain over time of every policy but the frozen one; none where that was not measured."""
    if FROZEN not in met[0]:
        return {}
    rewards = {
        policy: [[episode.rewards for episode in meeting[policy].episodes] for meeting in met] for policy in met[0]
    }
    return {policy: gain_over_time(rewards[FROZEN], those) for policy, those in rewards.items() if policy != FROZEN}


def plot_bands(axes: Axes, bands: dict[str, Band], places: dict[str, int], x: str, y: str) -> None:
    for policy, band in bands.items():
        color, dash = PALETTE[places[policy]], DASHES[places[policy]]
        axes.fill_between(band.at, band.low, band.high, color=color, alpha=0.2, linewidth=0)
        axes.plot(band.at, band.value, color=color, linestyle=dash)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def draw_course(number: int, course: Course, places: dict[str, int]) -> Picture:
    """Return at each place of a sequence, with what is met there."""
    met = [(shift, len(list(episodes))) for shift, episodes in groupby(course.sequence)]
    starts = np.cumsum([0, *(length for _, length in met)])

    def plot(axes: Axes) -> None:
        for start in starts[1:-1]:
            axes.axvline(start - 0.5, color=INK, linewidth=0.5, alpha=0.25)
        for run in course.policies:
            color, place = PALETTE[places[run.policy]], places[run.policy]
            at, means = range(len(run.positions)), [i.mean for i in run.positions]
            axes.vlines(at, [i.low for i in run.positions], [i.high for i in run.positions], color, alpha=0.35)
            axes.plot(at, means, color=color, linestyle=DASHES[place], marker=MARKERS[place], markersize=4)
        crowded = len(met) > 8
        middles = [start + (length - 1) / 2 for start, (_, length) in zip(starts, met, strict=False)]
        axes.set_xticks(
            middles, [shift for shift, _ in met], rotation=40 if crowded else 0, ha="right" if crowded else "center"
        )
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-0.5, starts[-1] - 0.5)
        axes.set_ylabel("return")
        axes.set_ylim(bottom=0)

    words = "; ".join(f"{run.policy}: mean {run.overall.mean}" for run in course.policies)
    title = "Return at each place of the sequence"
    return draw(f"course-{number}", title, f"{course.agent}, {title.lower()}. {words}", (840, 230), plot)
