"""What a benchmark found, in sentences that are made from its numbers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from report_lifelong import Course, Lifelong
from report_rows import ALL_SHIFTS, Aggregate, Row, in_one_way, name_agents, retrained
from report_tables import verdict
from results_folder import FROZEN, Cell, ResultsFolder

from pad.statistics import Band, Comparison

PLURALS = {"checkpoint": "checkpoints", "task": "tasks", "shift": "shifts", "policy": "policies", "seed": "seeds"}
"""What a benchmark's settings call the list of each setting of a cell."""


@dataclass(frozen=True)
class Paragraph:
    """Sentences about one thing."""

    about: str
    lines: tuple[str, ...]


def describe(
    folder: ResultsFolder,
    rows: Sequence[Row],
    aggregates: Sequence[Aggregate],
    gains: dict[str, Band],
    courses: Sequence[Course],
) -> list[Paragraph]:
    """The most important first: extent, what each policy gained and lost, what is missing."""
    single = [row for row in rows if not row.pooled]
    found = [Paragraph("Extent", (describe_extent(folder, single),))]
    for policy in dict.fromkeys(row.policy for row in single):
        compared = [(row, row.comparison) for row in single if row.policy == policy and row.comparison is not None]
        if compared:
            overall = [a for a in aggregates if a.shift == ALL_SHIFTS and a.policy in (FROZEN, policy)]
            whole = [*describe_overall(policy, overall), *describe_time(gains.get(policy))]
            sentences = (describe_gains(compared, name_agents(single)), describe_harm([c for _, c in compared]), whole)
            found.append(Paragraph(policy, tuple(" ".join(line) for line in sentences if line)))
    for course in courses:
        found += [
            Paragraph(f"{run.policy}, lifelong", (describe_lifelong(course, run),))
            for run in course.policies
            if run.policy != FROZEN
        ]
    unpaired = [row for row in single if row.policy != FROZEN and row.comparison is None]
    if unpaired:
        agents = name_agents(single)
        names = ", ".join(f"{agents[row.task, row.agent]} under {row.shift} ({row.policy})" for row in unpaired)
        missing = f"The frozen policy was not measured on the episodes of {names}."
        found.append(Paragraph("Not compared", (missing,)))
    if mixed := describe_mixture(folder.cells):
        found.append(Paragraph("Mixed", tuple(mixed)))
    if missing := missing_cells(folder):
        shown = ", ".join(missing[:3]) + (f", and {len(missing) - 3} more" if len(missing) > 3 else "")
        found.append(Paragraph("Missing", (f"{count(len(missing), 'cell')} asked for, not there: {shown}.",)))
    if folder.failures:
        failed = count(len(folder.failures), "cell")
        found.append(Paragraph("Failed", (f"{failed} could not be measured; the reasons stand under Failed cells.",)))
    return found


def describe_mixture(cells: Sequence[Cell]) -> list[str]:
    """What was not the same for all cells that stand beside each other."""
    found = []
    for (_, checkpoint), weights in retrained(cells).items():
        found.append(f"{checkpoint} was measured with {len(weights)} different weights, under several shifts or seeds.")
    ways: dict[str, set[str]] = {}
    for cell in cells:
        ways.setdefault(cell.policy, set()).add(json.dumps(cell.settings.get("adaptation"), sort_keys=True))
    found += [f"{policy} stands for {len(some)} different settings." for policy, some in ways.items() if len(some) > 1]
    left = len(cells) - len(in_one_way([c for c in cells if c.sequence is None])) - sum(map(_is_lifelong, cells))
    if left:
        found.append(f"{count(left, 'cell')} measured in another way than most (episodes, rendering, data or device): "
                     "left out of what is told of all.")  # fmt: skip
    made: dict[str, set[str]] = {}
    for cell in cells:
        for name, version in {**cell.measured.get("versions", {}), "hardware": cell.measured.get("hardware")}.items():
            made.setdefault(name, set()).add(str(version))
    differing = [name for name, some in made.items() if len(some) > 1]
    if differing:
        found.append(f"Not the same for all cells: {', '.join(differing)}.")
    return found


def missing_cells(folder: ResultsFolder) -> list[str]:
    """Titles of cells that the settings of the folder's last run name, and that are neither there nor failed."""
    lists = {name: folder.settings.get(name) or [] for name in ("checkpoints", "tasks", "shifts", "policies", "seeds")}
    if not all(isinstance(names, list) for names in lists.values()):
        return []
    met = [cell.settings for cell in (*folder.cells, *folder.failures)]
    by = [name for name in ("checkpoint", "task", "shift", "policy", "seed") if lists[PLURALS[name]]]
    if folder.settings.get("sequence"):
        by = [name for name in by if name != "shift"]  # each cell meets the whole of it
    there = {tuple(cell.get(name) for name in by) for cell in met}
    policies = [Path(str(p)).stem if str(p).endswith((".yaml", ".yml")) else p for p in lists["policies"]]
    asked = product(*({**lists, "policies": policies}[PLURALS[name]] for name in by))
    titles = {"task": "on {}", "shift": "under {}", "seed": "seed {}"}
    return [
        ", ".join(titles.get(name, "{}").format(value) for name, value in zip(by, values, strict=True))
        for values in asked
        if by and values not in there
    ]


def _is_lifelong(cell: Cell) -> bool:
    return cell.sequence is not None


def describe_extent(folder: ResultsFolder, rows: Sequence[Row]) -> str:
    agents, shifts = (len({getattr(row, name) for row in rows}) for name in ("agent", "shift"))
    episodes = sum(len(cell.episodes) for cell in folder.cells)
    lifelong = sum(cell.sequence is not None for cell in folder.cells)
    also = f", {lifelong} of them lifelong runs" if lifelong else ""
    extent = f"{count(agents, 'agent')} under {count(shifts, 'shift')}: " if rows else ""
    return f"{extent}{count(len(folder.cells), 'cell')}{also}, {count(episodes, 'episode')} in all."


def describe_gains(compared: Sequence[tuple[Row, Comparison]], names: dict[tuple[str, str], str]) -> list[str]:
    """Where a policy gained and lost, by the intervals of its paired differences."""
    verdicts = [verdict(c.difference) for _, c in compared]
    gained, lost, level = (verdicts.count(name) for name in ("gain", "loss", "level"))
    sentences = [
        f"Gains over {FROZEN} in {gained} of {count(len(compared), 'comparison')}, loses in {lost}, and is level in "
        f"{level}, where the interval of the paired difference includes zero."
    ]
    order = sorted(compared, key=lambda pair: pair[1].difference.mean)
    for name, there in (("gain", gained), ("loss", lost)):
        if there:
            of_kind = [pair for pair in order if verdict(pair[1].difference) == name]
            row, c = of_kind[-1] if name == "gain" else of_kind[0]
            sentences.append(
                f"The largest {name} is {c.difference.format('+')} ({names[row.task, row.agent]} under {row.shift}, "
                f"{c.frozen.mean:.0f} → {c.adapted.mean:.0f})."
            )
    return sentences


def describe_harm(compared: Sequence[Comparison]) -> list[str]:
    """Regret and catastrophes over all comparisons."""
    sizes = [c.won + c.lost + c.tied for c in compared]
    regret = sum(c.regret * size for c, size in zip(compared, sizes, strict=True)) / sum(sizes)
    both = [
        (c.catastrophes.count, c.frozen_catastrophes.count, size)
        for c, size in zip(compared, sizes, strict=True)
        if c.catastrophes is not None and c.frozen_catastrophes is not None
    ]
    sentences = [f"Regret, what was lost where something was lost, is {regret:.0f} in the average episode."]
    if both:
        adapted, frozen, counted = (sum(column) for column in zip(*both, strict=True))
        sentences.append(
            f"{count(adapted, 'episode')} of {counted} {'was a catastrophe' if adapted == 1 else 'were catastrophes'} "
            f"(below half the frozen mean); with the frozen policy {frozen}."
        )
    return sentences


def describe_overall(policy: str, overall: Sequence[Aggregate]) -> list[str]:
    """Interquartile means of both arms over everything, and the probability of improvement."""
    found = {aggregate.policy: aggregate for aggregate in overall}
    if set(found) != {FROZEN, policy}:
        return []
    chance, whole = found[policy].improvement, found[policy]
    part = f" ({whole.cells} of {count(whole.asked, 'cell')})" if whole.cells < whole.asked else ""
    extent = f"Over all shifts{part}"
    middle = (
        f"{extent} the interquartile mean is {found[FROZEN].interquartile_mean} frozen and "
        f"{found[policy].interquartile_mean} with {policy}"
    )
    if chance is None:
        return [f"{middle}."]
    return [f"{middle}; the probability of improvement is {chance.mean:.2f} [{chance.low:.2f}, {chance.high:.2f}]."]


def describe_time(gain: Band | None) -> list[str]:
    """How late in the episode the gain comes."""
    if gain is None or gain.low[-1] <= 0:
        return []
    share = gain.value[len(gain.at) // 2] / gain.value[-1]
    return [f"At half of the episode {100 * share:.0f} % of the final gain has been made."]


def describe_lifelong(course: Course, run: Lifelong) -> str:
    against = f" against {FROZEN}"
    gained = "" if run.overall.difference is None else f", {run.overall.difference.format('+')}{against}"
    text = f"{course.agent} reaches {run.overall.mean} in the average episode of the sequence{gained}."
    if run.forgetting is None:
        return text
    less = "" if run.forgetting.difference is None else f", {run.forgetting.difference.format('+')}{against}"
    change = run.forgetting.mean.format("+")
    return f"{text} From the first episodes without a shift to the last its return changes by {change}{less}."


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
