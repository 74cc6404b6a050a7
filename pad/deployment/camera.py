"""How the pixels of an observation are laid out: declared by whoever deploys, never guessed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Observation = Any
"""An array of pixels, or a mapping of names to arrays, some of them pixels."""


@dataclass(frozen=True)
class Camera:
    """One picture, or some successive ones stacked on channels, in an observation."""

    shape: tuple[int, int, int]
    """Sizes of the picture, in the order in which `layout` has them."""
    key: str | None = None
    """The picture's name in an observation of several entries; None where the observation is the picture."""
    layout: Literal["CHW", "HWC"] = "CHW"
    """Channels, height, width; or channels last."""
    dtype: str = "uint8"
    low: float = 0.0
    """Value of black."""
    high: float = math.nan
    """Value of white. Default: 255 for uint8; of other numbers it must be declared."""
    frame_channels: int = 3
    """Channels of a single frame."""

    def __post_init__(self) -> None:
        if self.layout not in ("CHW", "HWC") or len(self.shape) != 3:
            raise ValueError(f"a camera has layout CHW or HWC and three sizes, got {self.layout!r} and {self.shape}")
        # Plain values, which a file can hold: a space has its shape and bounds in numpy's.
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))
        if self.frame_channels < 1 or self.channels % self.frame_channels or min(self.shape) < 1:
            raise ValueError(f"{self.layout} shape {self.shape} does not hold whole frames of {self.frame_channels}")
        try:
            kind = np.dtype(self.dtype)
        except TypeError:
            kind = np.dtype(object)
        if kind.kind not in "uif":
            raise ValueError(f"dtype must be one of numbers, as uint8 or float32, got {self.dtype!r}")
        object.__setattr__(self, "dtype", kind.name)
        if math.isnan(self.high):
            if kind != np.uint8:
                raise ValueError(f"high must be declared for {self.dtype} pixels: which value is white, 1.0 or 255.0?")
            object.__setattr__(self, "high", 255.0)
        if not (self.high > self.low and math.isfinite(self.high - self.low)):
            raise ValueError(f"high must exceed low and both be finite, got {self.high} and {self.low}")

    @property
    def channels(self) -> int:
        return self.shape[0 if self.layout == "CHW" else 2]

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Shape of the picture with channels first: (channels, height, width)."""
        first, second, third = self.shape
        return self.shape if self.layout == "CHW" else (third, first, second)

    def pick(self, obs: Observation) -> Any:
        """This camera's entry of an observation, whatever it is.

        Raises:
            TypeError: when the observation is not of the declared kind.
        """
        if self.key is None:
            return obs
        if not isinstance(obs, Mapping) or self.key not in obs:
            found = f"keys {sorted(map(str, obs))}" if isinstance(obs, Mapping) else type(obs).__name__
            raise TypeError(f"observation must map {self.key!r} to pixels, got {found}")
        return obs[self.key]

    def fault(self, pixels: Any) -> str | None:
        """Why these are no pixels of this camera: `type`, `shape`, `dtype`; None when they are."""
        if not isinstance(pixels, np.ndarray):
            return "type"
        if pixels.shape != self.shape:
            return "shape"
        return None if pixels.dtype == np.dtype(self.dtype) else "dtype"

    def checked(self, obs: Observation) -> np.ndarray:
        """This camera's pixels in an observation, when they are as declared.

        Raises:
            TypeError: when they are no array, or the observation is not of the declared kind.
            ValueError: when they have another shape or dtype than declared.
        """
        pixels = self.pick(obs)
        fault = self.fault(pixels)
        if fault is None:
            return pixels
        name = "observation" if self.key is None else f"observation {self.key!r}"
        if fault == "type":
            raise TypeError(f"{name} must be a numpy array, got {type(pixels).__name__}")
        raise ValueError(f"{name} must be {self.dtype} {self.shape}, got {pixels.dtype} {pixels.shape}")

    def check_range(self, pixels: np.ndarray) -> None:
        """Check that finite pixels are between black and white, give or take half of the range (noise, interpolation).

        Raises:
            ValueError: when they are not, as 0 to 255 where 0 to 1 was declared.
        """
        finite = pixels[np.isfinite(pixels)]
        if not finite.size:
            return
        least, most, slack = float(finite.min()), float(finite.max()), (self.high - self.low) / 2
        if least < self.low - slack or most > self.high + slack:
            name = "observation" if self.key is None else f"observation {self.key!r}"
            raise ValueError(
                f"{name} has pixels from {least:.4g} to {most:.4g}, declared are {self.low:g} (black) to {self.high:g} "
                "(white)"
            )

    def channels_first(self, pixels: np.ndarray) -> np.ndarray:
        """A view with channels before height and width."""
        return pixels if self.layout == "CHW" else pixels.transpose(2, 0, 1)
