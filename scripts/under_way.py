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

FOLDER = "under_way"
LOOK_EVERY = 2.0
"""Seconds between two looks at how far the cells are."""


class UnderWay:
    """One cell's episodes so far, and the film of the first.

    Args:
        results: the benchmark's folder, which a worker on another machine may not reach: then nothing is kept.
        cell: its id.
    """

    def __init__(self, results: Path | None, cell: str) -> None:
        self._folder = None if results is None or not results.is_dir() else results / FOLDER
        self._cell = cell

    @property
    def _path(self) -> Path:
        assert self._folder is not None
        return self._folder / f"{self._cell}.jsonl"

    @property
    def _film(self) -> Path:
        assert self._folder is not None
        return self._folder / f"{self._cell}.mp4"

    def read(self, seeds: Sequence[int], filmed: bool) -> tuple[list[dict[str, Any]], bytes | None]:
        """The records so far, and the film where there should be one; none of either if that is missing.

        Args:
            seeds: of the cell's episodes in their order; what follows another one, as two workers at once would leave
                it, does not count.
        """
        if self._folder is None or not self._path.is_file() or (filmed and not self._film.is_file()):
            return [], None
        records = []
        with contextlib.suppress(ValueError):  # the last line was being written
            records.extend(map(json.loads, self._path.read_text().splitlines()))
        met = zip(records, seeds, strict=False)
        records = [record for record, _ in itertools.takewhile(lambda pair: pair[0]["episode"]["seed"] == pair[1], met)]
        # What is added next must not follow half a line.
        cli.write_text(self._path, "".join(f"{json.dumps(record)}\n" for record in records))
        return records, self._film.read_bytes() if filmed and records else None

    def add(self, record: dict[str, Any], film: bytes | None = None) -> None:
        """Keep one more episode."""
        if self._folder is None:
            return
        self._folder.mkdir(exist_ok=True)
        if film is not None:  # before its episode counts
            cli.write_bytes(self._film, film)
        with self._path.open("a") as file:
            file.write(f"{json.dumps(record)}\n")

    def remove(self) -> None:
        """The cell is finished, or begins anew."""
        if self._folder is None:
            return
        for path in (self._path, self._film):
            path.unlink(missing_ok=True)


def count(results: Path, cells: Iterable[str]) -> int:
    """Episodes of these cells so far."""
    found = 0
    for cell in cells:
        with contextlib.suppress(FileNotFoundError):
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
