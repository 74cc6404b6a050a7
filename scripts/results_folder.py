"""A folder of benchmark results, read into typed records: one file for each cell, and one for each that failed.

Knows the files and nothing of what their numbers mean.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cli
import yaml

FROZEN = "frozen"
"""The policy that learns nothing, which the others are compared with."""


@dataclass(frozen=True)
class MetEpisode:
    """One episode of a cell."""

    seed: int
    shift: str
    episode_return: float
    rewards: tuple[float, ...]
    """One for each decision."""
    self_supervised_loss: tuple[float, ...]
    """The same; empty where it was not measured."""
    updates: int
    guards: Counter[str]
    drift: float


@dataclass(frozen=True)
class Cell:
    """One policy of one agent under one shift, for the episodes of one seed."""

    id: str
    path: Path
    settings: dict[str, Any]
    """All that decides the result: agent, environment, policy, episodes."""
    episodes: tuple[MetEpisode, ...]
    measured: dict[str, Any]
    """Command, versions, hardware and speed."""
    video: Path | None
    """Of the first episode, one frame for each decision."""

    @property
    def checkpoint(self) -> str:
        return str(self.settings["checkpoint"])

    @property
    def task(self) -> str:
        return str(self.settings["task"])

    @property
    def shift(self) -> str:
        return str(self.settings["shift"])

    @property
    def policy(self) -> str:
        return str(self.settings["policy"])

    @property
    def seed(self) -> int:
        return int(self.settings["seed"])

    @property
    def sequence(self) -> tuple[str, ...] | None:
        """Shifts of the episodes that one policy meets in a row; None where every episode has the cell's shift."""
        shifts = self.settings.get("sequence")
        return None if shifts is None else tuple(str(shift) for shift in shifts)

    @property
    def returns(self) -> list[float]:
        return [episode.episode_return for episode in self.episodes]

    def key(self, *ignored: str) -> str:
        """Equal for cells that differ only in the `ignored` settings."""
        kept = {name: value for name, value in self.settings.items() if name not in ignored}
        return json.dumps(kept, sort_keys=True)


@dataclass(frozen=True)
class Failure:
    """A cell that could not be measured."""

    id: str
    settings: dict[str, Any]
    error: str
    traceback: str


@dataclass(frozen=True)
class ResultsFolder:
    """Everything that a benchmark left. Cells stand in the order in which its settings name what they are of."""

    path: Path
    settings: dict[str, Any]
    cells: tuple[Cell, ...]
    failures: tuple[Failure, ...]

    @property
    def name(self) -> str:
        return str(self.settings.get("name") or self.path.resolve().name)


def read_results(folder: Path) -> ResultsFolder:
    """All results of a folder. A cell that failed once and was measured later counts as measured.

    Raises:
        FileNotFoundError: when there is no such folder.
        BadInput: when it holds no cells, a file that is broken, or two of one cell; the message names them.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    cells = [read_cell(path, folder) for path in sorted((folder / "cells").glob("*.json"))]
    check_distinct(cells)
    failures = [_read_failure(path) for path in sorted((folder / "failed").glob("*.json"))]
    if not cells and not failures:
        raise cli.BadInput(f"{folder} holds no results: there is no file {folder / 'cells' / '*.json'}")
    measured = {cell.id for cell in cells}
    settings = _read_settings(folder / "benchmark.yaml")
    named = list(dict.fromkeys(_texts(settings)))
    return ResultsFolder(
        folder,
        settings,
        tuple(sorted(cells, key=lambda cell: _place(cell, named))),
        tuple(failure for failure in failures if failure.id not in measured),
    )


def _place(cell: Cell, named: list[str]) -> tuple[Any, ...]:
    def rank(name: str, first: str = "") -> tuple[int, bool, str]:
        return named.index(name) if name in named else len(named), name != first, name

    policy = (cell.policy != FROZEN, *rank(cell.policy))
    return rank(cell.task), rank(cell.checkpoint), rank(cell.shift, "none"), policy, cell.seed, cell.id


def _texts(value: Any) -> list[str]:
    """All texts in nested containers, keys included, in reading order."""
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in (*_texts(key), *_texts(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def check_distinct(cells: Sequence[Cell]) -> None:
    """Raises BadInput for two cells of one name, such as those of a policy before and after its settings changed."""
    seen: dict[str, Cell] = {}
    for cell in cells:
        twin = seen.setdefault(cell.key("adaptation"), cell)
        if twin is not cell:
            raise cli.BadInput(f"{twin.path} and {cell.path} are both {cell.policy} in one cell; remove the older")


def read_cell(path: Path, folder: Path) -> Cell:
    """One file of `cells`, with its video if there is one.

    Raises:
        BadInput: when it is broken.
    """
    record = _read_json(path)
    try:
        episodes = tuple(_make_episode(episode) for episode in record["episodes"])
        settings = _mapping(record["cell"])
        missing = {"checkpoint", "task", "shift", "policy", "seed"} - set(settings)
        if missing:
            raise ValueError(f"its cell lacks {', '.join(sorted(missing))}")
        if not episodes:
            raise ValueError("it has no episodes")
        if not all(math.isfinite(episode.episode_return) for episode in episodes):
            raise ValueError(f"a return is no number, got {[episode.episode_return for episode in episodes]}")
        sequence = settings.get("sequence")
        if sequence is not None and len(sequence) != len(episodes):
            raise ValueError(f"its sequence has {len(sequence)} shifts and {len(episodes)} episodes")
        if sequence is None and settings.get("episodes", len(episodes)) != len(episodes):
            raise ValueError(f"it has {len(episodes)} of {settings['episodes']} episodes")
        video = folder / "videos" / f"{path.stem}.mp4"
        measured = _mapping(record["measured"])
        return Cell(
            str(record.get("id", path.stem)), path, settings, episodes, measured, video if video.is_file() else None
        )
    except KeyError as error:
        raise cli.BadInput(f"{path} is not a cell of a benchmark: it lacks {error}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise cli.BadInput(f"{path} is not a cell of a benchmark: {error}") from None


def _make_episode(record: dict[str, Any]) -> MetEpisode:
    return MetEpisode(
        seed=int(record["seed"]),
        shift=str(record["shift"]),
        episode_return=float(record["episode_return"]),
        rewards=tuple(float(reward) for reward in record["rewards"]),
        self_supervised_loss=tuple(float(loss) for loss in record["self_supervised_loss"] or ()),
        updates=int(record["updates"]),
        guards=Counter(_mapping(record["guards"])),
        drift=float(record["drift"] or 0),
    )


def _read_failure(path: Path) -> Failure:
    record = _read_json(path)
    try:
        return Failure(
            str(record.get("id", path.stem)),
            _mapping(record["cell"]),
            str(record["error"]),
            str(record.get("traceback") or ""),
        )
    except (KeyError, TypeError) as error:
        raise cli.BadInput(f"{path} is not a failed cell: {error}") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return _mapping(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise cli.BadInput(f"{path} cannot be read, perhaps it is half-written: {error}") from None


def _read_settings(path: Path) -> dict[str, Any]:
    """Empty where the benchmark left no settings."""
    if not path.is_file():
        return {}
    try:
        return _mapping(yaml.safe_load(path.read_text()) or {})
    except (yaml.YAMLError, TypeError, UnicodeDecodeError) as error:
        raise cli.BadInput(f"{path} is not YAML that maps names to values: {error}") from None


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"expected names and values, got {type(value).__name__}")
    return value
