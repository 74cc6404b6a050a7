"""Files and folders that are whole at any moment, whatever is killed or full. It knows nothing of what is in them."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from glob import escape
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, in a folder that is made where it is missing: a crash leaves the file that was there.

    On return the content is on the disk, not only on its way there.

    Raises:
        OSError: when the disk does not take it; the file that was there is left, and nothing beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        fresh.write_bytes(content)
        sync(fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    sync(path.parent)
    _remove_leftovers(path)


def _remove_leftovers(path: Path) -> None:
    """Remove what processes left there that were killed while they wrote to the same path."""
    for left in path.parent.glob(f".{escape(path.name)}.*.new"):
        pid = left.name.removeprefix(f".{path.name}.").removesuffix(".new")
        with suppress(PermissionError):  # it runs, and is another user's
            try:
                if pid.isdecimal():
                    os.kill(int(pid), 0)
            except (ProcessLookupError, OverflowError):
                left.unlink(missing_ok=True)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """A folder with these files and no others, in the place of the one that is there as soon as it is whole.

    Raises:
        OSError: when the disk does not take them; the folder that was there is left, and nothing beside it. Writers of
            libraries raise errors of their own, which say less.
    """
    fresh = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        for name, content in files.items():
            (fresh / name).write_bytes(content)
            sync(fresh / name)
        sync(fresh)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    replace_folder(fresh, folder)


def replace_folder(fresh: Path, folder: Path) -> None:
    """Put the folder `fresh` in the place of `folder`; after a crash in between that one is at `<folder>.old`.

    Raises:
        ValueError: when the fresh one lies in the other.
        OSError: when it cannot be moved; the one that was there is left.
    """
    if folder.resolve() in fresh.resolve().parents:
        raise ValueError(f"{fresh} cannot take the place of {folder}, in which it lies")
    old = folder.with_name(f"{folder.name}.old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Make sure that a file, or what a folder lists, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def first_line(error: Exception) -> str:
    """What an error says in its first line, or its type where it says nothing."""
    return (str(error).strip() or repr(error)).splitlines()[0]
