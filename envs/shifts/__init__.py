"""Ways in which the deployed camera's picture differs from the training environment's, by name."""

from pathlib import Path

from envs.shifts.base import Shift
from envs.shifts.colors import ColorShift, generate_colors, read_colors
from envs.shifts.video import GeneratedVideos, VideoFiles, VideoShift

SHIFTS = ("none", "color_easy", "color_hard", "video_easy", "video_hard")


def make_shift(name: str, data: str | Path | None = None, split: str = "test") -> Shift:
    """The shift of that name, from the published benchmark's folder `data` or, without one, our own.

    A folder that lacks the shift's file is an error: our own data never stands in for it.

    Raises:
        ValueError: for an unknown name or split, or a file that cannot be read.
        FileNotFoundError: when `data` has no file for this shift.
    """
    if name not in SHIFTS:
        raise ValueError(f"unknown shift {name!r}; known: {', '.join(SHIFTS)}")
    if split not in ("test", "validation", "training"):
        raise ValueError(f"unknown split {split!r}; known: test, validation, training")
    if name == "none":
        return Shift()
    if name.startswith("color"):
        return ColorShift(generate_colors(name, split) if data is None else read_colors(Path(data) / f"{name}.pt"))
    videos = GeneratedVideos(name, split) if data is None else VideoFiles.of_shift(Path(data), name)
    return VideoShift(videos, floor=name == "video_hard")


__all__ = ["SHIFTS", "ColorShift", "GeneratedVideos", "Shift", "VideoFiles", "VideoShift", "make_shift"]
