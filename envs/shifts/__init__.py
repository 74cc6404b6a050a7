"""Ways in which deployment differs from training, by name. `envs.shifts.schedule` says how names are put together."""

import contextlib
import hashlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from envs.shifts import body, camera, clutter, distracting, dynamics, lights, sensor
from envs.shifts.base import Shift
from envs.shifts.colors import ColorShift, generate_colors, read_colors
from envs.shifts.composition import Composition
from envs.shifts.schedule import Part, Segment, Timetable, from_yaml, parse
from envs.shifts.video import GeneratedVideos, GreenScreenShift, VideoFiles, Videos, VideoShift

SPLITS = ("test", "validation", "training")


@dataclass(frozen=True)
class _Source:
    """What a shift is made for."""

    data: Path | None
    split: str
    task: str
    alone: bool
    """At full strength all the time, and with nothing beside it."""

    def videos(self, name: str) -> Videos:
        return GeneratedVideos(name, self.split) if self.data is None else VideoFiles.of_shift(self.data, name)


@dataclass(frozen=True)
class Kind:
    """One name that a shift can have."""

    group: str
    """appearance, view, clutter, sensor, dynamics, or distracting: the Distracting Control Suite."""
    about: str
    make: Callable[[_Source], Shift]


def _color(name: str, about: str) -> Kind:
    def make(source: _Source) -> Shift:
        if source.data is None:
            return ColorShift(generate_colors(name, source.split))
        return ColorShift(read_colors(source.data / f"{name}.pt"))

    return Kind("appearance", about, make)


def _video(name: str, about: str) -> Kind:
    def make(source: _Source) -> Shift:
        kind = GreenScreenShift if source.alone else VideoShift
        return kind(source.videos(name), floor=name == "video_hard")

    return Kind("appearance", about, make)


def _plain(group: str, kind: type[Shift]) -> Kind:
    about = (kind.__doc__ or "").split("\n\n")[0]
    return Kind(group, " ".join(about.split()), lambda _: kind())


def _distracting(kind: type[Shift], moving: bool) -> Kind:
    def make(source: _Source) -> Shift:
        if kind is distracting.DistractingBackground:
            return kind(source.videos("video_hard"), source.task, moving)
        return kind(moving)  # type: ignore[call-arg]

    about = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    return Kind("distracting", about if moving else f"{about} It stands still within an episode.", make)


_KINDS: dict[str, Kind] = {
    # In the order in which they act: the world, the camera, what is before it, and its sensor.
    "color_easy": _color("color_easy", "Other colours of sky, floor and body, near those of training."),
    "color_hard": _color("color_hard", "Other colours of sky, floor and body, from a wide range."),
    "distracting_color": _distracting(distracting.DistractingColor, moving=True),
    "distracting_color_static": _distracting(distracting.DistractingColor, moving=False),
    "distracting_background": _distracting(distracting.DistractingBackground, moving=True),
    "distracting_background_static": _distracting(distracting.DistractingBackground, moving=False),
    "mass": _plain("dynamics", dynamics.Mass),
    "friction": _plain("dynamics", dynamics.Friction),
    "actuator_gain": _plain("dynamics", dynamics.ActuatorGain),
    "force": _plain("dynamics", dynamics.Force),
    "action_delay": _plain("dynamics", dynamics.ActionDelay),
    "distracting_camera": _distracting(distracting.DistractingCamera, moving=True),
    "distracting_camera_static": _distracting(distracting.DistractingCamera, moving=False),
    "camera": _plain("view", camera.Camera),
    "camera_position": _plain("view", camera.CameraPosition),
    "camera_angle": _plain("view", camera.CameraAngle),
    "field_of_view": _plain("view", camera.FieldOfView),
    "camera_motion": _plain("view", camera.CameraMotion),
    "camera_shake": _plain("view", camera.CameraShake),
    "light_position": _plain("appearance", lights.LightPosition),
    "light_color": _plain("appearance", lights.LightColor),
    "shadows": _plain("appearance", lights.Shadows),
    "body_texture": _plain("appearance", body.BodyTexture),
    "spheres": _plain("clutter", clutter.Spheres),
    "video_easy": _video("video_easy", "A film in place of the sky."),
    "video_hard": _video("video_hard", "A film in place of sky and floor."),
    "patches": _plain("clutter", clutter.Patches),
    "bars": _plain("clutter", clutter.Bars),
    "blur": _plain("sensor", sensor.Blur),
    "brightness": _plain("sensor", sensor.Brightness),
    "contrast": _plain("sensor", sensor.Contrast),
    "gamma": _plain("sensor", sensor.Gamma),
    "noise": _plain("sensor", sensor.Noise),
    "dead_pixels": _plain("sensor", sensor.DeadPixels),
    "compression": _plain("sensor", sensor.Compression),
    "repeated_frames": _plain("sensor", sensor.RepeatedFrames),
    "dropped_frames": _plain("sensor", sensor.DroppedFrames),
}
SHIFTS: Mapping[str, Kind] = MappingProxyType(_KINDS)
"""Every shift by its name, in the order in which they act."""
_REGISTERED: dict[str, tuple[Path, bytes]] = {}


def register(name: str, kind: type[Shift], group: str = "own") -> None:
    """Give a shift of your own a name; it acts after all others.

    The first paragraph of its docstring says what it does. Commands know the name when the environment variable
    PAD_SHIFTS names the module that registers it, or several, joined by commas: `import envs` imports them, in worker
    processes too.

    Args:
        group: "sensor" for one that needs nothing but pictures and may stand in `envs.SensorShift`.

    Raises:
        ValueError: for a name that is taken or that the grammar cannot say.
    """
    if name in _KINDS or name in ("none", "repeat"):
        raise ValueError(f"there is a shift {name} already")
    if not re.fullmatch(r"[a-z_]+", name):
        raise ValueError(f"a shift's name has small letters and underscores, got {name!r}")
    _KINDS[name] = _plain(group, kind)
    # As it is now: whoever edits the file later has still this in memory.
    with contextlib.suppress(TypeError, OSError):  # typed at a prompt
        path = Path(inspect.getfile(kind)).resolve()
        _REGISTERED[name] = path, hashlib.sha256(path.read_bytes()).digest()


def registered_code(text: str) -> dict[Path, bytes]:
    """Files of the shifts of somebody's own that a shift names, and their digests when they were registered.

    What comes out under the shift depends on them.
    """
    named = {part.name for segment in _timetable(text).segments for part in segment.parts}
    return dict(_REGISTERED[name] for name in named & set(_REGISTERED))


def normalize(text: str) -> str:
    """The one spelling of a shift, with names in the order in which they act.

    Raises:
        ValueError: when it is none, or names a shift that does not exist.
        FileNotFoundError: when it names a file that is not there.
    """
    return str(_timetable(text))


def make_shift(text: str, data: str | Path | None = None, split: str = "test", task: str = "") -> Composition:
    """What `text` says, with colours and films from the published benchmark's folder `data` or, without one, our own.

    A folder that lacks a shift's file is an error: our own data never stands in for it.

    Args:
        text: see `envs.shifts.schedule`.
        task: some shifts differ by task.

    Raises:
        ValueError: for an unknown name or split, or a file that cannot be read.
        FileNotFoundError: when `data` is no folder, or has no file for a shift.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    timetable, folder = _timetable(text), None if data is None else Path(data)
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder} with colours and films")

    def make(part: Part, alone: bool) -> Shift:
        return SHIFTS[part.name].make(_Source(folder, split, task, alone))

    def is_alone(part: Part, segment: Segment) -> bool:
        """Whether nothing of any strength acts beside a part, which is at its full strength."""
        return part.start == part.end == 1 and [p for p in segment.parts if p.start or p.end] == [part]

    segments = [[make(part, is_alone(part, segment)) for part in segment.parts] for segment in timetable.segments]
    return Composition(timetable, segments)


def _timetable(text: str) -> Timetable:
    timetable, order = parse(text), list(SHIFTS)
    for name in timetable.names:
        if name not in SHIFTS:
            raise ValueError(f"unknown shift {name!r}; known: none, {', '.join(SHIFTS)}")
    segments = [
        Segment(segment.at, tuple(sorted(segment.parts, key=lambda part: order.index(part.name))))
        for segment in timetable.segments
    ]
    return Timetable(tuple(segments), timetable.repeat)


__all__ = [
    "SHIFTS", "SPLITS", "ColorShift", "Composition", "GeneratedVideos", "Kind", "Shift", "VideoFiles", "VideoShift",
    "from_yaml", "make_shift", "normalize", "register",
]  # fmt: skip
