"""The folder that a benchmark writes: a file for each cell that is finished, whole or not there."""

import contextlib
import dataclasses
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cli
import yaml
from cells import Cell, Result
from results_folder import read_cell
from under_way import UnderWay

from pad import settings
from pad.files import write_atomically
from pad.tracking import say


class Store:
    """Results by cell.

    Of cells that differ only in how they were made, by other weights, or by settings or data of the same name, the
    newest counts: the others move to `superseded`. A file that is not a whole result moves to `damaged`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = dict[str, Path]()
        """Finished cells by their id."""
        self._places = dict[str, str]()
        """The finished cell that stands in each place, by id."""
        self.speeds = dict[tuple[str, str], list[float]]()
        """Decisions a second that finished cells of a checkpoint and policy reached."""
        for path in sorted((folder / "cells").glob("*.json")):
            self._find(path)

    def _find(self, path: Path) -> None:
        try:
            found = read_cell(path, self._folder)
            if found.id != path.stem:
                raise cli.BadInput(f"{path} holds the cell {found.id}")
            speed, here = float(found.measured["steps_per_second"]), place(found.settings)
        except (cli.BadInput, KeyError, TypeError, ValueError) as error:
            say(f"set aside, to be run again: {error}")
            self._move(path, "damaged")
            return
        self._files[found.id], self._places[here] = path, found.id
        self.speeds.setdefault((found.checkpoint, found.policy), []).append(speed)

    def holds(self, cell: Cell) -> bool:
        return cell.id in self._files

    def put(self, result: Result) -> None:
        """Keep a result; the film first, so that a finished cell has it."""
        cell, name = result.cell, f"{result.cell.id}.json"
        text = json.dumps(result.to_dict(), separators=(",", ":")) + "\n"
        here = place(settings.to_dict(cell))
        for failure in self._failures(here):
            failure.unlink()
        if result.error:
            cli.write_text(self._folder / "failed" / name, text)
            return
        if result.video is not None:
            write_atomically(self._folder / "videos" / f"{cell.id}.mp4", result.video)
        if (other := self._places.get(here)) is not None and other != cell.id:
            self._move(self._files.pop(other), "superseded")
            (self._folder / "videos" / f"{other}.mp4").unlink(missing_ok=True)
        path = self._folder / "cells" / name
        cli.write_text(path, text)
        UnderWay(self._folder, cell.id, {}).remove()
        self._files[cell.id], self._places[here] = path, cell.id

    def supersedes(self, cells: list[Cell]) -> int:
        """How many finished cells these would take the place of."""
        return sum(self._places.get(place(settings.to_dict(cell)), cell.id) != cell.id for cell in cells)

    def _failures(self, here: str) -> Iterator[Path]:
        """Files of what failed in a place before, by whatever weights."""
        for path in (self._folder / "failed").glob("*.json"):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                if place(json.loads(path.read_text())["cell"]) == here:
                    yield path

    def _move(self, path: Path, where: str) -> None:
        (self._folder / where).mkdir(exist_ok=True)
        path.replace(self._folder / where / path.name)

    def describe(self, config: Any, command: str) -> None:
        """Keep the settings that the folder was last run with."""
        described = {**settings.to_dict(dataclasses.replace(config, output=None)), "command": command}
        cli.write_text(self._folder / "benchmark.yaml", yaml.safe_dump(described, sort_keys=False))


def place(cell: dict[str, Any]) -> str:
    """Where a cell stands in tables: all that it is but what one name stands for now."""
    kept = {name: value for name, value in cell.items() if name not in ("weights", "adaptation", "data", "code")}
    return json.dumps(kept, sort_keys=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One benchmark at a time in a folder; the lock goes with the process, however it ends.

    Raises:
        BadInput: when another one runs there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise cli.BadInput(f"another benchmark is running in {folder}") from error
        yield
