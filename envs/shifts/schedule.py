"""Shifts by name: together, one after the other, stronger and weaker in time.

    color_hard                           one shift
    color_hard + camera:0.4              two at once, the second at strength 0.4
    camera:0..1                          its strength grows from 0 to 1 by the end of the episode
    color_hard@0, video_hard@50          another from the agent's step 50 on
    none@0, noise@20, repeat@40          and again from the beginning at step 40

The same as YAML: a list of `{at: 0, shifts: {color_hard: 1, camera: 0..1}}`, or a mapping with that list as `segments`
and a number `repeat`.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:e-?\d+)?"
_PART = re.compile(rf"([a-z_]+)(?:\s*:\s*({_NUMBER})(?:\.\.({_NUMBER}))?)?")
_SEGMENT = re.compile(r"(.*?)(?:@\s*(\d+))?")


@dataclass(frozen=True)
class Part:
    """One shift, and its strength when its segment begins and when it ends."""

    name: str
    start: float = 1.0
    end: float = 1.0

    def __post_init__(self) -> None:
        for strength in (self.start, self.end):
            if not 0 <= strength <= 1:
                raise ValueError(f"the strength of {self.name} must be from 0 to 1, got {strength:g}")

    def __str__(self) -> str:
        if self.start != self.end:
            return f"{self.name}:{_short(self.start)}..{_short(self.end)}"
        return self.name if self.start == 1 else f"{self.name}:{_short(self.start)}"


@dataclass(frozen=True)
class Segment:
    """Shifts that act together from one of the agent's steps on; no parts: as in training."""

    at: int
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{', '.join(sorted(repeated))} stands twice in {' + '.join(names)}")

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts)) or "none"


@dataclass(frozen=True)
class Timetable:
    """Segments in the order of their beginnings.

    Raises:
        ValueError: when they do not begin at step 0, or not one after the other.
    """

    segments: tuple[Segment, ...]
    repeat: int | None = None
    """The agent's step at which the first segment begins again."""

    def __post_init__(self) -> None:
        begins = [segment.at for segment in self.segments] + [self.repeat] * (self.repeat is not None)
        if not self.segments or begins[0] != 0:
            raise ValueError(f"the first shift must begin at step 0, got {begins[0] if begins else 'none'}")
        for earlier, later in itertools.pairwise(begins):
            if later <= earlier:  # type: ignore[operator]
                raise ValueError(f"shifts must begin one after the other, got @{later} after @{earlier}")

    def __str__(self) -> str:
        if len(self.segments) == 1 and self.repeat is None:
            return str(self.segments[0])
        texts = [f"{segment}@{segment.at}" for segment in self.segments]
        return ", ".join(texts + [f"repeat@{self.repeat}"] * (self.repeat is not None))

    @property
    def names(self) -> list[str]:
        """Of all shifts in it, each once."""
        return list(dict.fromkeys(part.name for segment in self.segments for part in segment.parts))

    def find(self, agent_step: int) -> tuple[int, int]:
        """Number of the segment that acts at a step, and how many steps ago it began."""
        step = agent_step % self.repeat if self.repeat else agent_step
        number = max(index for index, segment in enumerate(self.segments) if segment.at <= step)
        return number, step - self.segments[number].at

    def length(self, number: int, horizon: int) -> int:
        """Steps until the end of a segment, in an episode of `horizon` steps; at least 1."""
        ends = [segment.at for segment in self.segments[1:]] + [self.repeat or max(horizon, self.segments[-1].at + 1)]
        return ends[number] - self.segments[number].at


def parse(text: str) -> Timetable:
    """A timetable from one line, or from the YAML file that it names.

    Raises:
        ValueError: when the text is none, with the part that is wrong.
        FileNotFoundError: when there is no such file.
    """
    if text.strip().endswith((".yaml", ".yml")):
        return _read(Path(text.strip()))
    pieces = [piece.strip() for piece in text.split(",")]
    repeat = None
    if len(pieces) > 1 and (match := re.fullmatch(r"repeat\s*@\s*(\d+)", pieces[-1])):
        repeat, pieces = int(match[1]), pieces[:-1]
    return Timetable(tuple(_segment(piece, first=index == 0) for index, piece in enumerate(pieces)), repeat)


def _segment(text: str, first: bool) -> Segment:
    match = _SEGMENT.fullmatch(text)
    assert match is not None  # the pattern takes anything
    if match[2] is None and not first:
        raise ValueError(f"{text!r} needs the agent's step at which it begins, as in {text}@100")
    return Segment(int(match[2] or 0), _parts([piece.strip() for piece in match[1].split("+")]))


def _parts(pieces: Sequence[str]) -> tuple[Part, ...]:
    if list(pieces) == ["none"]:
        return ()
    parts = []
    for piece in pieces:
        match = _PART.fullmatch(piece)
        if match is None:
            raise ValueError(
                f"{piece!r} is no shift: write name, name:strength or name:from..to, joined by +, and @step after each "
                "segment but the first"
            )
        if match[1] == "none":
            raise ValueError("none stands alone: it takes no strength and nothing beside it")
        start = float(match[2]) if match[2] else 1.0
        parts.append(Part(match[1], start, float(match[3]) if match[3] else start))
    return tuple(parts)


def _read(path: Path) -> Timetable:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path} for a shift")
    try:
        return from_yaml(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


def from_yaml(values: Any) -> Timetable:
    """A timetable from plain containers: see the module.

    Raises:
        ValueError: when they are none, with what is wrong.
    """
    values = {"segments": values} if isinstance(values, list) else values
    if (
        not isinstance(values, dict)
        or set(values) - {"segments", "repeat"}
        or not isinstance(values.get("segments"), list)
    ):
        raise ValueError(f"a shift is a list of segments, or a mapping of segments and repeat, got {values!r}")
    repeat = values.get("repeat")
    if repeat is not None and not _is_step(repeat):
        raise ValueError(f"repeat must be a step of the agent, got {repeat!r}")
    return Timetable(tuple(map(_segment_from_yaml, values["segments"])), repeat)


def _segment_from_yaml(values: Any) -> Segment:
    if not isinstance(values, dict) or set(values) - {"at", "shifts"} or "shifts" not in values:
        raise ValueError(f"a segment maps at to a step and shifts to names and strengths, got {values!r}")
    at, shifts = values.get("at", 0), values["shifts"]
    if not _is_step(at):
        raise ValueError(f"at must be a step of the agent, got {at!r}")
    if isinstance(shifts, str):
        return Segment(at, _parts([piece.strip() for piece in shifts.split("+")]))
    if not isinstance(shifts, dict):
        raise ValueError(f"shifts must map names to strengths, got {shifts!r}")
    return Segment(at, _parts([f"{name}:{strength}" for name, strength in shifts.items()]))


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _short(number: float) -> str:
    """The shortest text of a number that is read as the same."""
    return str(int(number)) if number == int(number) else repr(number)
