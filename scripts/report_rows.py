"""What the cells of a benchmark say: a row for each agent, shift and policy, and aggregates over agents.

Every number here is from returns of episodes; an adapted cell is compared with the frozen one that met the same.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cli
import numpy as np
from families import by_family
from results_folder import FROZEN, Cell

from pad.statistics import (
    Comparison,
    Interval,
    Strata,
    aggregate,
    compare_returns,
    compare_strata,
    interquartile_mean,
    mean_interval,
    probability_of_improvement,
    standard_deviation_over_seeds,
    stratified_mean,
)

ALL_SHIFTS = "all shifts"
OF_AN_ARM = ("checkpoint", "weights", "shift", "code", "policy", "adaptation", "seed")
"""Settings that tell agents, shifts, policies and seeds apart, and not how they were measured."""


@dataclass(frozen=True)
class Row:
    """One policy of one agent, or of all agents of a task and family, under one shift, over its seeds."""

    task: str
    agent: str
    """The checkpoint, with the settings that tell it from others of that name."""
    shift: str
    policy: str
    cells: tuple[Cell, ...]
    """One for each seed."""
    mean: Interval
    deviation: float | None
    """Standard deviation over the means of seeds of episodes, where agents are taken together over the agents' means;
    None for a single one."""
    interquartile_mean: Interval
    comparison: Comparison | None
    """With the frozen policy; None for itself, and where it was not measured on all of these episodes."""
    improvement: Interval | None
    """Probability that an episode's return is above one of the frozen policy."""
    pooled: bool = False
    """Of all agents of a task and family."""

    @property
    def seeds(self) -> int:
        """Over which the deviation is taken: of episodes, where agents are taken together of agents."""
        return len({cell.checkpoint for cell in self.cells}) if self.pooled else len(self.cells)

    @property
    def episodes(self) -> int:
        return sum(len(cell.episodes) for cell in self.cells)


@dataclass(frozen=True)
class Aggregate:
    """One policy over all agents, under one shift or under all."""

    shift: str
    policy: str
    cells: int
    """Strata: agents, seeds and shifts in which all these policies were measured."""
    asked: int
    """So many there would be, had all been."""
    interquartile_mean: Interval
    improvement: Interval | None
    """None for the frozen policy."""


Meeting = dict[str, Cell]
"""The cells that met the same episodes, by policy."""


def make_rows(cells: Sequence[Cell]) -> list[Row]:
    """Rows of the cells that are no lifelong runs, in their order; where a task has several agents, theirs at last.

    Raises:
        BadInput: when two cells that should have met the same episodes have not.
    """
    cells = [cell for cell in cells if cell.sequence is None]
    frozen = {cell.key("policy", "adaptation"): cell for cell in cells if cell.policy == FROZEN}
    labels = label_agents(cells)
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.key("seed"), []).append(cell)
    rows = [make_row(labels[group[0].id], group, frozen) for group in groups.values()]
    for task in dict.fromkeys(row.task for row in rows):
        of_task = [row for row in rows if row.task == task]
        for family, some in by_family(of_task, lambda row: row.cells[0].checkpoint).items():
            rows += pool(some, frozen, family)
    return rows


def pool(rows: list[Row], frozen: dict[str, Cell], family: str = "") -> list[Row]:
    """Rows over all agents of a task and family: an agent that was trained with another seed is another seed of its
    task.

    None where they were not measured in the same way, and of one agent none.
    """
    ways = {json.dumps(_way(cell), sort_keys=True) for row in rows for cell in row.cells}
    agents = len({row.agent for row in rows})
    if len(ways) > 1 or retrained([cell for row in rows for cell in row.cells]):
        return []
    pooled = []
    for shift, policy in dict.fromkeys((row.shift, row.policy) for row in rows):
        there = [row for row in rows if (row.shift, row.policy) == (shift, policy)]
        if len(there) > 1:
            name = f"all {agents} agents" if len(there) == agents else f"{len(there)} of {agents} agents"
            name = f"{name} {family}".strip()
            pooled.append(make_row(name, [cell for row in there for cell in row.cells], frozen, pooled=True))
    return pooled


def _way(cell: Cell) -> dict[str, Any]:
    """How a cell was measured, whoever it is of."""
    way = {name: value for name, value in cell.settings.items() if name not in OF_AN_ARM}
    return {**way, "env": {name: value for name, value in way.get("env", {}).items() if name != "shift"}}


def name_agents(rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    """Names by task and agent, for tables without a column of tasks: an agent on several tasks has its task there."""
    places = list(dict.fromkeys((row.task, row.agent) for row in rows))
    several = {agent for _, agent in places if sum(agent == other for _, other in places) > 1}
    return {(task, agent): f"{agent} on {task}" if agent in several else agent for task, agent in places}


def make_row(agent: str, cells: Sequence[Cell], frozen: dict[str, Cell], pooled: bool = False) -> Row:
    first, scores = cells[0], scores_of(cells)
    paired = [cell for cell in cells if cell.policy != FROZEN and cell.key("policy", "adaptation") in frozen]
    if len(paired) < len(cells):  # a mean is compared with one over the same episodes, or not at all
        paired = []
    bases = [frozen[cell.key("policy", "adaptation")] for cell in paired]
    for cell, base in zip(paired, bases, strict=True):
        check_paired(base, cell)
    comparison = None
    if paired:
        arms = of_agents(bases), of_agents(paired)
        comparison = compare_strata(*arms) if pooled else compare_returns(*(np.concatenate(arm) for arm in arms))
    return Row(
        first.task,
        agent,
        first.shift,
        first.policy,
        tuple(cells),
        stratified_mean(of_agents(cells)) if pooled else mean_interval(np.concatenate(scores)),
        standard_deviation_over_seeds(of_agents(cells) if pooled else scores),
        aggregate(interquartile_mean, scores),
        comparison,
        aggregate(probability_of_improvement, scores_of(paired), scores_of(bases)) if paired else None,
        pooled,
    )


def scores_of(cells: Sequence[Cell]) -> list[np.ndarray]:
    """Returns of the episodes, a stratum for each cell."""
    return [np.array(cell.returns) for cell in cells]


def retrained(cells: Sequence[Cell]) -> dict[tuple[str, str], set[str]]:
    """Tasks and checkpoints of which there are cells of several weights, and these."""
    found: dict[tuple[str, str], set[str]] = {}
    for cell in cells:
        found.setdefault((cell.task, cell.checkpoint), set()).add(str(cell.settings.get("weights")))
    return {agent: weights for agent, weights in found.items() if len(weights) > 1}


def of_agents(cells: Sequence[Cell]) -> list[np.ndarray]:
    """Returns of the episodes, a stratum for each checkpoint."""
    checkpoints = dict.fromkeys(cell.checkpoint for cell in cells)
    return [np.concatenate(scores_of([c for c in cells if c.checkpoint == checkpoint])) for checkpoint in checkpoints]


def check_paired(frozen: Cell, adapted: Cell) -> None:
    """Raises BadInput when two arms did not meet the same episodes, with the names of their files."""
    met = [[episode.seed for episode in cell.episodes] for cell in (frozen, adapted)]
    if met[0] != met[1]:
        raise cli.BadInput(f"{frozen.path} and {adapted.path} are arms of one comparison, but met other episodes")


def label_agents(cells: Sequence[Cell]) -> dict[str, str]:
    """Names of agents by the ids of their cells: the checkpoint, and where it was measured in two ways what differs."""
    twins: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for cell in cells:
        name = (cell.task, cell.checkpoint, cell.shift, cell.policy, cell.seed)
        twins.setdefault(name, []).append(_flatten(cell.settings))
    differing: dict[tuple[str, str], set[str]] = {}
    for (task, checkpoint, *_), settings in twins.items():
        found = {name for one in settings for name in one if any(other.get(name) != one[name] for other in settings)}
        differing.setdefault((task, checkpoint), set()).update(found)
    for agent in retrained(cells):  # under one shift or seed before, under another after
        differing[agent].add("weights")
    return {cell.id: _label(cell, differing[cell.task, cell.checkpoint]) for cell in cells}


def _label(cell: Cell, differing: set[str]) -> str:
    flat = _flatten(cell.settings)
    described = ", ".join(f"{name.rpartition('.')[2]} {str(flat.get(name))[:16]}" for name in sorted(differing))
    return f"{cell.checkpoint} ({described})" if described else cell.checkpoint


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, str | int | float) else json.dumps(value)
    return flat


def meetings(cells: Sequence[Cell]) -> list[Meeting]:
    """Cells by what they met: the same agent, shift and episodes."""
    found: dict[str, Meeting] = {}
    for cell in cells:
        found.setdefault(cell.key("policy", "adaptation"), {})[cell.policy] = cell
    return list(found.values())


def complete(met: Sequence[Meeting]) -> list[Meeting]:
    """Those in which all policies were measured: aggregates over others would compare unequal things.

    A policy that would leave less than half of them is left out itself: it has only just begun.
    """
    counts = Counter(policy for meeting in met for policy in meeting)
    kept, whole = list[str](), list(met)
    for policy, _ in counts.most_common():
        narrower = [meeting for meeting in whole if policy in meeting]
        if not kept or 2 * len(narrower) >= len(met):
            kept, whole = [*kept, policy], narrower
    return [{policy: cell for policy, cell in meeting.items() if policy in kept} for meeting in whole]


def by_shift(cells: Sequence[Cell]) -> dict[str, list[Meeting]]:
    """Complete meetings of every shift, and of all shifts at first where there are several."""
    return {shift: whole for shift, some in _met_by_shift(cells).items() if (whole := complete(some))}


def _met_by_shift(cells: Sequence[Cell]) -> dict[str, list[Meeting]]:
    met = meetings(in_one_way([cell for cell in cells if cell.sequence is None]))
    shifts = dict.fromkeys(next(iter(meeting.values())).shift for meeting in met)
    found = {shift: [m for m in met if next(iter(m.values())).shift == shift] for shift in shifts}
    return {**({ALL_SHIFTS: met} if len(shifts) > 1 else {}), **found}


def in_one_way(cells: Sequence[Cell]) -> list[Cell]:
    """Of cells that were measured in several ways those of the way that most were: no episode counts twice."""
    ways = {cell.id: json.dumps(measured_way(cell), sort_keys=True) for cell in cells}
    most = [way for way, _ in Counter(ways.values()).most_common(1)]
    return [cell for cell in cells if ways[cell.id] in most]


def measured_way(cell: Cell) -> dict[str, Any]:
    """How a cell was measured, whoever and whatever it is of."""
    env = cell.settings.get("env", {})
    episodes, device = (cell.settings.get(name) for name in ("episodes", "device"))
    shown = {name: env.get(name) for name in ("quality", "shift_data", "shift_split")}
    return {"episodes": episodes, "device": device, **shown}


def strata(met: Sequence[Meeting], policy: str) -> Strata:
    return scores_of([meeting[policy] for meeting in met])


def make_aggregates(cells: Sequence[Cell]) -> list[Aggregate]:
    """Interquartile means and probabilities of improvement over agents, the strata of their intervals."""
    found = []
    for shift, there in _met_by_shift(cells).items():
        met = complete(there)
        for policy in met[0] if met else ():
            improvement = None
            if policy != FROZEN and FROZEN in met[0]:
                improvement = aggregate(probability_of_improvement, strata(met, policy), strata(met, FROZEN))
            middle = aggregate(interquartile_mean, strata(met, policy))
            found.append(Aggregate(shift, policy, len(met), len(there), middle, improvement))
    return found
