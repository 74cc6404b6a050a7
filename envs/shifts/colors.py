"""Other colours of skybox, floor and body, drawn anew for each episode."""

import io
import pickle
import pickletools
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from envs.scene import Scene
from envs.shifts.base import Shift

ColorSetting = Mapping[str, np.ndarray]
"""One look: grid_rgb1, grid_rgb2, self_rgb and skybox_rgb, each three numbers from 0 to 1."""

_TRAINING = {
    "grid_rgb1": (0.1, 0.2, 0.3),
    "grid_rgb2": (0.2, 0.3, 0.4),
    "self_rgb": (0.7, 0.5, 0.3),
    "skybox_rgb": (0.4, 0.6, 0.8),
}
_REACH = {"color_easy": 0.2, "color_hard": 0.6}
_SIZE = 100


class ColorShift(Shift):
    """Each episode shows one of the given looks; the strength is how far its colours are from those of training."""

    recolors = True

    def __init__(self, colors: Sequence[ColorSetting]) -> None:
        self._colors = colors

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        self._look = self._colors[int(rng.integers(len(self._colors)))]

    def change(self, scene: Scene) -> None:
        scene.appearance.recolor(**{part: self._blend(part, color) for part, color in self._look.items()})

    def _blend(self, part: str, color: np.ndarray) -> list[float]:
        if self.strength == 1:
            return color.tolist()
        return ((1 - self.strength) * np.array(_TRAINING[part]) + self.strength * color).tolist()


def generate_colors(name: str, split: str = "test") -> list[ColorSetting]:
    """Our own 100 looks: easy ones near the training colours, hard ones from a wider range.

    Each channel is drawn uniformly within a reach (0.2 easy, 0.6 hard) of its training value,
    and clipped to what a colour can be.
    """
    rng = np.random.default_rng([_SIZE, *f"{name}/{split}".encode()])
    reach = _REACH[name]
    return [
        {part: np.clip(np.array(color) + rng.uniform(-reach, reach, 3), 0, 1) for part, color in _TRAINING.items()}
        for _ in range(_SIZE)
    ]


def read_colors(path: Path) -> Sequence[ColorSetting]:
    """Looks from a published file: a pickled list of dicts of arrays, read without executing it.

    Both of torch's formats are understood. Only arrays, numbers, strings and containers are
    accepted; anything else in the pickle is refused before it is built.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it holds anything else than such a list.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}; this shift needs it")
    try:
        colors = _unpickle(path)
        settings = [{part: np.asarray(look[part], np.float64) for part in _TRAINING} for look in colors]
        valid = all(v.shape == (3,) and (v >= 0).all() and (v <= 1).all() for look in settings for v in look.values())
    except Exception as error:  # a corrupt pickle fails in many ways
        raise ValueError(f"{path} is not a list of colour settings: {error}") from error
    if not settings or not valid:
        raise ValueError(f"{path} must list colours of three numbers from 0 to 1 for {', '.join(_TRAINING)}")
    return settings


def _load(file: BinaryIO, size: int) -> Any:
    """One pickle of a file of that size. For a number that a damaged byte made huge its reader would take gigabytes."""
    start = file.tell()
    for opcode, argument, _ in pickletools.genops(file):
        if "PUT" in opcode.name and (argument or 0) > size:
            raise pickle.UnpicklingError(f"{argument} is no number of an object in {size} bytes")
    file.seek(start)
    return _ArrayUnpickler(file).load()


def _unpickle(path: Path) -> Sequence[Mapping[str, object]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            content = archive.read(member)
            return _load(io.BytesIO(content), len(content))
    with path.open("rb") as file:
        # torch's older format: a magic number, a version and the machine's sizes come first.
        size = path.stat().st_size
        for _ in range(3):
            _load(file, size)
        return _load(file, size)


def _numeric_dtype(name: str, *_: object) -> np.dtype:
    """A type of plain numbers; one of objects would take bytes of the file for addresses."""
    dtype = np.dtype(name)
    if dtype.kind not in "fiub":
        raise pickle.UnpicklingError(f"refused an array of {dtype}")
    return dtype


class _ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays and plain containers, and refuses every other name."""

    def find_class(self, module: str, name: str) -> object:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return lambda *_: np.zeros(0)
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "scalar":
            return lambda dtype, data: np.frombuffer(data, dtype)[0]
        if (module, name) == ("numpy", "ndarray"):
            return None  # only ever an argument of _reconstruct, which ignores it
        if (module, name) == ("numpy", "dtype"):
            return _numeric_dtype
        if module == "_codecs" and name == "encode":
            return lambda text, _: text.encode("latin1")
        raise pickle.UnpicklingError(f"refused to load {module}.{name}")
