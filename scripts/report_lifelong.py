"""Lifelong runs: one policy meets shift after shift and goes on learning; what it gains and what it forgets.

A shift is met when its episodes begin, and that meeting lasts until another shift's do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from report_rows import check_paired, label_agents
from results_folder import FROZEN, Cell

from pad.statistics import Interval, mean_interval


@dataclass(frozen=True)
class Paired:
    """A mean of one policy, and how far it is from the frozen one's."""

    mean: Interval
    difference: Interval | None
    """None for the frozen policy, and where that was not measured."""


@dataclass(frozen=True)
class Remembering:
    """A policy's return when it met a shift first and when it met it again."""

    shift: str
    first: Paired
    second: Paired | None
    """None where the sequence holds one meeting."""


@dataclass(frozen=True)
class Lifelong:
    """One policy of one agent through a sequence, over its seeds."""

    policy: str
    cells: tuple[Cell, ...]
    bases: tuple[Cell, ...]
    """Of the frozen policy for the same episodes; empty where it was not measured."""
    positions: tuple[Interval, ...]
    """Return at each place of the sequence."""
    overall: Paired
    meetings: tuple[Remembering, ...]
    forgetting: Paired | None
    """Return of the last meeting of `none` minus that of the first; None where the sequence holds no two."""


@dataclass(frozen=True)
class Course:
    """All policies of one agent through one sequence."""

    task: str
    agent: str
    sequence: tuple[str, ...]
    policies: tuple[Lifelong, ...]


def make_courses(cells: Sequence[Cell]) -> list[Course]:
    """Every agent and sequence among the cells.

    Raises:
        BadInput: when two arms met other episodes.
    """
    cells = [cell for cell in cells if cell.sequence is not None]
    labels = label_agents(cells)
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.key("seed", "policy", "adaptation"), []).append(cell)
    return [_make_course(labels[group[0].id], group) for group in groups.values()]


def _make_course(agent: str, cells: list[Cell]) -> Course:
    frozen = {cell.seed: cell for cell in cells if cell.policy == FROZEN}
    by_policy: dict[str, list[Cell]] = {}
    for cell in cells:
        by_policy.setdefault(cell.policy, []).append(cell)
    first = cells[0]
    assert first.sequence is not None
    policies = tuple(_make_lifelong(policy, arm, frozen) for policy, arm in by_policy.items())
    return Course(first.task, agent, first.sequence, policies)


def _make_lifelong(policy: str, cells: list[Cell], frozen: dict[int, Cell]) -> Lifelong:
    bases = [frozen[cell.seed] for cell in cells if cell.seed in frozen] if policy != FROZEN else []
    # A mean over seeds is compared with one over the same seeds, or not at all.
    bases = bases if len(bases) == len(cells) else []
    for base, cell in zip(bases, cells, strict=False):
        check_paired(base, cell)
    assert cells[0].sequence is not None
    returns = np.array([cell.returns for cell in cells])
    # Episodes of a policy that is never reset hang together: what is drawn again is its lives.
    by_life = (cells[0].settings["adaptation"] or {}).get("reset") == "never"
    base_returns = np.array([base.returns for base in bases]) if bases else None
    met = meetings(cells[0].sequence)
    calm = met.get("none", [])
    return Lifelong(
        policy,
        tuple(cells),
        tuple(bases),
        tuple(mean_interval(column) for column in returns.T),
        _pair(returns, base_returns, range(returns.shape[1]), by_life),
        tuple(
            Remembering(
                shift,
                _pair(returns, base_returns, places[0], by_life),
                _pair(returns, base_returns, places[1], by_life) if len(places) > 1 else None,
            )
            for shift, places in met.items()
        ),
        _forgetting(returns, base_returns, calm[0], calm[-1], by_life) if len(calm) > 1 else None,
    )


def meetings(sequence: Sequence[str]) -> dict[str, list[range]]:
    """Places of each shift's episodes, meeting by meeting."""
    found: dict[str, list[range]] = {}
    start = 0
    for shift, episodes in groupby(sequence):
        length = len(list(episodes))
        found.setdefault(shift, []).append(range(start, start + length))
        start += length
    return found


def _pair(returns: np.ndarray, base: np.ndarray | None, places: range, by_life: bool) -> Paired:
    own = returns[:, places]
    difference = None if base is None else _interval(own - base[:, places], by_life)
    return Paired(_interval(own, by_life), difference)


def _forgetting(returns: np.ndarray, base: np.ndarray | None, first: range, last: range, by_life: bool) -> Paired:
    """Paired episode by episode as far as both meetings go."""
    length = min(len(first), len(last))

    def change(values: np.ndarray) -> np.ndarray:
        return np.asarray(values[:, last[:length]] - values[:, first[:length]])

    own = change(returns)
    difference = None if base is None else _interval(own - change(base), by_life)
    return Paired(_interval(own, by_life), difference)


def _interval(values: np.ndarray, by_life: bool) -> Interval:
    """Mean over lives and their episodes: (lives, episodes). Of a single life as a whole there is no interval."""
    if not by_life:
        return mean_interval(values.ravel())
    means = values.mean(1)
    return mean_interval(means) if len(means) > 1 else Interval(float(means[0]), -np.inf, np.inf)
