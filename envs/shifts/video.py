"""A film behind the robot, or behind and below it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from envs.renderer import Layer
from envs.scene import Scene
from envs.shifts import backgrounds
from envs.shifts.base import Shift

GREEN = (0.2, 0.8, 0.2)
_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg"}
_LONGEST = 1000  # frames: an episode of the suite shows no more, and a film must fit in memory


class Videos(Protocol):
    """A numbered collection of films."""

    def __len__(self) -> int: ...

    def frames(self, index: int, size: int) -> np.ndarray:
        """All frames of one film: uint8 (frames, size, size, 3). Not to be written to."""


class VideoShift(Shift):
    """A film in place of the sky, and with `floor` of the ground too; the strength is its opacity.

    Frame t of the film is shown at decision t, and the film loops. Each episode draws its film.
    """

    def __init__(self, videos: Videos, floor: bool) -> None:
        self._videos, self._floor, self._index = videos, floor, 0

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        self._scene, self._index = scene, int(rng.integers(len(self._videos)))

    def apply(self, picture: np.ndarray, agent_step: int) -> np.ndarray:
        if self.strength == 0:
            return picture
        film = self._videos.frames(self._index, picture.shape[0])
        frame = film[agent_step % len(film)]
        if self.strength < 1:
            frame = np.rint(self.strength * frame + (1 - self.strength) * picture).astype(np.uint8)
        return np.where(self._screen(picture)[..., None], frame, picture)

    def _screen(self, picture: np.ndarray) -> np.ndarray:
        """Where the film is shown: bool (height, width)."""
        return self._scene.layers(picture.shape[0]) >= (Layer.GROUND if self._floor else Layer.SKY)


class GreenScreenShift(VideoShift):
    """The same at full strength and with nothing beside it, as the published benchmark has it: by a green screen.

    It finds where the sky is by its colour, and so needs it painted and lit as in training.
    """

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        super().begin(scene, rng)
        parts = ["skybox_rgb", "skybox_rgb2", "skybox_markrgb"]
        parts += ["grid_rgb1", "grid_rgb2", "grid_markrgb"] * self._floor
        scene.appearance.recolor(**dict.fromkeys(parts, GREEN))

    def _screen(self, picture: np.ndarray) -> np.ndarray:
        return is_green(picture)


def is_green(picture: np.ndarray) -> np.ndarray:
    """Pixels of the green screen: hue 100 to 185 degrees, saturation from 80/255, value from 70/255.

    The published benchmark's key to the bit: the operations of a conversion to HSV in double
    precision, in their order, since whole hues lie on the limits.

    Args:
        picture: uint8 (height, width, 3).
    """
    red, green, blue = (picture[..., part].astype(np.int32) for part in range(3))
    color = red << 16 | green << 8 | blue
    answers = _answers[color]
    if not answers.all():
        new = np.unique(color[answers == _UNKNOWN])
        _answers[new] = np.where(_passes_key(new >> 16, new >> 8 & 255, new & 255), _SCREEN, _OTHER)
        answers = _answers[color]
    return answers == _SCREEN


# What is known of each colour: pictures repeat few of them. Pages that none has touched take no memory.
_UNKNOWN, _OTHER, _SCREEN = 0, 1, 2
_answers = np.zeros(2**24, np.uint8)


def _passes_key(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """Of each colour, whether the key takes it for the screen."""
    largest = np.maximum(np.maximum(red, green), blue)
    # Where red is largest the hue is beyond the limits, and most fail here already.
    mask = (largest > red) & (largest >= 70)
    r, g, b = (part[mask] / 255.0 for part in (red, green, blue))
    high, low = np.maximum(g, b), np.minimum(np.minimum(r, g), b)
    span = high - low
    from_r, from_g, from_b = (high - r) / span, (high - g) / span, (high - b) / span
    hue = np.where(g == high, 2.0 + from_r - from_b, 4.0 + from_g - from_r) / 6.0 % 1.0 * 360
    mask[mask] = (hue >= 100) & (hue <= 185) & (span / high * 255 >= 80) & (high * 255 >= 70)
    return mask


class FilmCache:
    """Scaled films, those used last, in a bounded memory, for all threads.

    The last two asked for are always kept: an episode that is watched shows one film in two sizes, in turns.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._films = limit, OrderedDict[Hashable, np.ndarray]()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Iterable[np.ndarray]], size: int) -> np.ndarray:
        """The film of that key, made of frames of any size where it is not kept: uint8 (frames, size, size, 3)."""
        with self._lock:
            if key not in self._films:
                self._films[key] = np.stack([resize(frame, size) for frame in make()])
            self._films.move_to_end(key)
            while len(self._films) > 2 and sum(film.nbytes for film in self._films.values()) > self._limit:
                self._films.popitem(last=False)
            return self._films[key]


_films = FilmCache(512 * 2**20)


class GeneratedVideos:
    """Our own backgrounds: see `envs.shifts.backgrounds`."""

    def __init__(self, name: str, split: str) -> None:
        self._name, self._split = name, split

    def __len__(self) -> int:
        return backgrounds.COUNTS[self._name]

    def frames(self, index: int, size: int) -> np.ndarray:
        key = self._name, self._split, index, size
        return _films.get(key, lambda: backgrounds.generate_background(self._name, self._split, index), size)


class VideoFiles:
    """Films from files.

    Raises:
        ValueError: for an empty list or a file that is no film, and from `frames` for one that ends early.
    """

    def __init__(self, paths: list[Path]) -> None:
        if not paths:
            raise ValueError("no video files given")
        for path in paths:  # a bad file is found before the episode that draws it
            list(_decode(path, 2))
        self._paths = [path.resolve() for path in paths]
        # Another film of that name is another film.
        self._versions = [(path.stat().st_mtime_ns, path.stat().st_size) for path in self._paths]

    @classmethod
    def of_shift(cls, data: Path, name: str) -> "VideoFiles":
        """The films of `data/name`, or of `data` itself where it holds films directly."""
        if not data.is_dir():
            raise FileNotFoundError(f"no folder {data}; this shift needs its videos")
        for folder in (data / name, data):
            paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)
            if paths:
                return cls(paths)
        raise FileNotFoundError(
            f"no {name} folder with videos in {data}, and no videos in it ({', '.join(sorted(_SUFFIXES))})"
        )

    def __len__(self) -> int:
        return len(self._paths)

    def frames(self, index: int, size: int) -> np.ndarray:
        path = self._paths[index]
        return _films.get((path, self._versions[index], size), lambda: _decode(path, _LONGEST), size)


def _decode(path: Path, limit: int) -> Iterator[np.ndarray]:
    """The first `limit` frames, each uint8 (height, width, 3).

    Raises:
        ValueError: for a file that is no video, ends early (where its header tells), or holds a single frame.
    """
    import av

    count = 0
    try:
        with av.open(str(path)) as container:
            stream, end = container.streams.video[0], 0.0
            for frame in container.decode(stream):
                yield frame.to_ndarray(format="rgb24")
                count, end = count + 1, (frame.time or 0.0) + float((frame.duration or 0) * (frame.time_base or 0))
                if count == limit:
                    return
            tells_length = bool(stream.frames) or len(container.streams) == 1  # else that of a sound, perhaps
            seconds = (container.duration or 0) / av.time_base if tells_length else 0.0
            if _ends_early(count, end, stream.frames, seconds):
                raise ValueError(
                    f"{path} ends early: {count} frames, {end:.1f} s, of {stream.frames or 'unknown'}, {seconds:.1f} s"
                )
    except (OSError, av.FFmpegError, IndexError) as error:
        raise ValueError(f"{path} cannot be read as a video: {error}") from error
    if count < 2:
        raise ValueError(f"{path} holds {count} frames; a background needs at least 2")


def _ends_early(count: int, end: float, frames: int, seconds: float) -> bool:
    """Whether a film is shorter than its header tells, where it tells that.

    Args:
        frames: as the header has it, those included that an edited film does not show; 0 where it does not tell.
        seconds: of the whole file, whose sound may last longer than its pictures; 0 where it does not tell.
    """
    too_few, too_short = count < frames - 2, end < 0.95 * seconds - 0.25
    return (too_few or not frames) and (too_short or not seconds) and (too_few or too_short)


def resize(frame: np.ndarray, size: int) -> np.ndarray:
    """Scale uint8 (height, width, 3) to (size, size, 3): bilinear between pixel centres, rounded down."""
    rows, columns = (_bilinear(length, size) for length in frame.shape[:2])
    tall = frame[rows[0]] * (1 - rows[2][:, None, None]) + frame[rows[1]] * rows[2][:, None, None]
    fraction = columns[2][None, :, None]
    return (tall[:, columns[0]] * (1 - fraction) + tall[:, columns[1]] * fraction).astype(np.uint8)


def _bilinear(length: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper neighbour of each target pixel's centre, and the upper one's weight."""
    centre = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    lower = centre.astype(int)
    return lower, np.minimum(lower + 1, length - 1), centre - lower
