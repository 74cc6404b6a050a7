"""What the cells that are being run have come to so far, an episode a line, so that a killed one goes on from there."""

import contextlib
import itertools
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cli
from tqdm import tqdm

from pad.files import write_atomically

FOLDER = "under_way"
KEYS = {"episode", "filmed", "steps", "control_seconds", "seconds", "maker"}
"""Of a record."""
LOOK_EVERY = 2.0
"""Seconds between two looks at how far the cells are."""


class UnderWay:
    """One cell's episodes so far, and the film of the first.

    Whatever the disk does, it is no reason not to play: where the folder cannot be used, nothing is kept.

    Args:
        results: the benchmark's folder, which a worker on another machine may not reach.
        cell: its id.
        maker: what plays, versions and hardware: episodes that something else played do not count.
    """

    def __init__(self, results: Path | None, cell: str, maker: dict[str, Any]) -> None:
        self._cell, self._maker = cell, maker
        self._folder = None
        with contextlib.suppress(OSError):
            self._folder = results / FOLDER if results is not None and results.is_dir() else None

    @property
    def _path(self) -> Path:
        assert self._folder is not None
        return self._folder / f"{self._cell}.jsonl"

    @property
    def _film(self) -> Path:
        assert self._folder is not None
        return self._folder / f"{self._cell}.mp4"

    def read(self, seeds: Sequence[int], filmed: bool) -> tuple[list[dict[str, Any]], bytes | None]:
        """The records so far, and the film where there should be one; where any is missing, all before it.

        Args:
            seeds: of the cell's episodes in their order.
        """
        if self._folder is None:
            return [], None
        records, film = [], None
        with contextlib.suppress(OSError):
            found = {
                record["episode"]["seed"]: record for record in _whole(self._path) if record["maker"] == self._maker
            }
            records = [found[seed] for seed in itertools.takewhile(found.__contains__, seeds)]
            if records and filmed:
                film = self._film.read_bytes() if records[0]["filmed"] and self._film.is_file() else None
                records = records if film else []
            # What is added next must not follow half a line, nor what does not count.
            if records:
                cli.write_text(self._path, "".join(f"{json.dumps(record)}\n" for record in records))
            else:
                self.remove()
        return records, film

    def add(self, record: dict[str, Any], film: bytes | None = None) -> None:
        """Keep one more episode."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(exist_ok=True)
            if film is not None:  # before its episode counts
                write_atomically(self._film, film)
            self._append(record)
        except OSError:
            self._folder = None

    def _append(self, record: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(f"{json.dumps({**record, 'maker': self._maker})}\n")

    def remove(self) -> None:
        """The cell is finished, or begins anew."""
        if self._folder is None:
            return
        with contextlib.suppress(OSError):
            for path in (self._path, self._film):
                path.unlink(missing_ok=True)


def _whole(path: Path) -> Iterator[dict[str, Any]]:
    """The lines that are whole records: the last one may have been cut off."""
    if not path.is_file():
        return
    for line in path.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError, TypeError):
            record = json.loads(line)
            if isinstance(record, dict) and record.keys() >= KEYS and "seed" in record["episode"]:
                yield record


def count(results: Path, cells: Iterable[str]) -> int:
    """Episodes of these cells so far."""
    found = 0
    for cell in cells:
        with contextlib.suppress(OSError):
            found += (results / FOLDER / f"{cell}.jsonl").read_bytes().count(b"\n")
    return found


class Progress:
    """Moves a bar by whole cells as they are told, and meanwhile by the episodes of those under way."""

    def __init__(self, bar: tqdm, results: Path, cells: Iterable[str]) -> None:
        self._bar, self._results, self._waiting, self._finished = bar, results, set(cells), 0
        self._lock, self._over = threading.Lock(), threading.Event()

    def finish(self, cell: str, episodes: int) -> None:
        """A cell is finished, or has failed."""
        with self._lock:
            self._waiting.discard(cell)
            self._finished += episodes
        self._show()

    def _show(self) -> None:
        with self._lock:
            self._bar.update(self._finished + count(self._results, self._waiting) - self._bar.n)

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            self._show()

    @contextlib.contextmanager
    def watching(self) -> Iterator["Progress"]:
        """Look at the cells under way from time to time until the block ends."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()
            with contextlib.suppress(OSError):  # some are still under way, or none ever was
                (self._results / FOLDER).rmdir()
