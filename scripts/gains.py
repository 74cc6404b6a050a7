"""What adaptation brings on average over tasks, and how often it learned: tables from evaluations of shipped agents."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from evaluations import shifts_of
from published import SHIFTS as HARD

from pad.statistics import Interval, mean_interval, mean_over_groups


@dataclass(frozen=True)
class Gain:
    """A mean over agents, every task counting alike."""

    frozen: float
    adapted: float
    over_episodes: Interval
    """Adapted minus frozen; the interval asks how it would be in other episodes of the same tasks."""
    over_tasks: Interval
    """The same number; the interval asks how it would be on other tasks as well."""
    at_random: Interval | None
    """What as much motion of the weights in a random direction brings, in other episodes; of the agents that have this
    control, and None where none has."""
    lost: list[str]
    """Agents whose own interval lies below zero, and by how much."""


def mean_gain(records: list[dict[str, Any]], shifts: tuple[str, ...]) -> Gain:
    """Of evaluations that all hold these shifts, one an agent, whose episodes are the same under each of them."""
    differences: dict[str, list[np.ndarray]] = {}
    at_random: dict[str, list[np.ndarray]] = {}
    arms: dict[str, list[np.ndarray]] = {}
    lost = []
    for record in records:
        cells = [shifts_of(record)[shift] for shift in shifts]
        # Rows of shifts: an episode begins in the same way under each, so all are drawn together.
        frozen, adapted = (np.array([cell[arm]["returns"] for cell in cells]) for arm in ("frozen", "adapted"))
        task = record["env"]["task"]
        differences.setdefault(task, []).append((adapted - frozen).mean(0))
        arms.setdefault(task, []).append(np.stack([frozen.mean(), adapted.mean()]))
        if all("null" in cell for cell in cells):
            moved = np.array([cell["null"]["returns"] for cell in cells])
            at_random.setdefault(task, []).append((moved - frozen).mean(0))
        own = mean_interval(differences[task][-1])
        if own.high < 0 and frozen.shape[1] > 1:  # a single episode decides nothing
            lost.append(f"{record['settings']['checkpoint']} ({own.mean:.1f})")
    frozen_mean, adapted_mean = np.mean([np.mean(of_task, 0) for of_task in arms.values()], 0)
    groups = list(differences.values())
    return Gain(float(frozen_mean), float(adapted_mean), mean_over_groups(groups, fixed=True),
                mean_over_groups(groups, fixed=False),
                mean_over_groups(list(at_random.values()), fixed=True) if at_random else None, lost)  # fmt: skip


def format_gains(records: list[dict[str, Any]], name: str = "") -> str:
    """Markdown table of evaluations of one setting: a row for each shift that all met, and one for the hard ones.

    Args:
        name: of the agents' family.
    """
    met = [shift for shift in shifts_of(records[0]) if all(shift in shifts_of(record) for record in records)]
    rows: list[tuple[str, ...]] = [(shift,) for shift in met]
    if set(HARD) <= set(met):
        rows.append(HARD)
    tasks = len({record["env"]["task"] for record in records})
    counts = f"{tasks} {'task' if tasks == 1 else 'tasks'}, {len(records)} {'agent' if len(records) == 1 else 'agents'}"
    lines = [
        f"Means over {counts}{f' {name}' if name else ''}:", "",
        "| shift | frozen | adapted | adapted − frozen, over episodes | over episodes and tasks "
        "| random perturbation − frozen | agents that lose (own interval below 0) |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for shifts in rows:
        gain = mean_gain(records, shifts)
        name = shifts[0] if len(shifts) == 1 else f"**mean of {len(shifts)}**"
        lines.append(
            f"| {name} | {gain.frozen:.0f} | {gain.adapted:.0f} | {gain.over_episodes.format('+')} | "
            f"{gain.over_tasks.format('+')} | {'' if gain.at_random is None else gain.at_random.format('+')} | "
            f"{', '.join(gain.lost)} |"
        )
    return "\n".join(lines)


def format_learning(records: list[dict[str, Any]]) -> str:
    """Markdown table of evaluations: at what share of the decisions each agent learned."""
    shifts = list(dict.fromkeys(shift for record in records for shift in shifts_of(record)))
    lines = ["Share of decisions at which the gate was open:", "",
             f"| agent | {' | '.join(shifts)} |", "|---" * (len(shifts) + 1) + "|"]  # fmt: skip
    for record in records:
        cells = shifts_of(record)
        shares = [f"{100 * share_learned(cells[shift]['adapted']):.0f} %" if shift in cells else "" for shift in shifts]
        lines.append(f"| {record['settings']['checkpoint']} | {' | '.join(shares)} |")
    return "\n".join(lines)


def format_regret(records: list[dict[str, Any]], beyond: float = 3.0) -> str:
    """Markdown table of evaluations: where adaptation lost so much more than the same motion of the weights at random.

    Means over all episodes of what either lost where it lost; most first.
    """
    rows = []
    for record in records:
        for shift, cell in shifts_of(record).items():
            if "null_comparison" in cell:
                regret, at_random = (cell[which]["regret"] for which in ("comparison", "null_comparison"))
                difference = Interval(**cell["comparison"]["difference"]).format("+")
                texts = f"{difference} | {regret:.1f} | {at_random:.1f} |"
                rows.append((regret - at_random, f"| {record['settings']['checkpoint']} | {shift} | {texts}"))
    found = [text for more, text in sorted(rows, reverse=True) if more >= beyond]
    return "\n".join(
        [
            f"{len(found)} of {len(rows)} cells, by {beyond:g} points and more:",
            "",
            "| agent | shift | adapted − frozen | regret | regret, random perturbation |",
            "|---|---|---|---|---|",
            *found,
        ]
    )


def share_learned(arm: dict[str, Any]) -> float:
    """Of the decisions that the gate judged."""
    learned, shut = sum(arm["updates"]), sum(guards.get("gate", 0) for guards in arm["guards"])
    return learned / max(learned + shut, 1)
