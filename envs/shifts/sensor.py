"""A worse or a differently set camera. These shifts need nothing but pictures, and work on anybody's."""

import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from envs.scene import Scene
from envs.shifts.base import Moments, Shift, signed_share

_NOISE, _BLUR, _BRIGHTNESS, _EXPONENT = 50.0, 0.03, 80.0, 0.9
_BEST, _WORST = 90, 6
_DEAD, _DROPPED, _STALLED, _LONGEST = 0.04, 0.3, 0.25, 4


class Sensor(Shift):
    """A shift of the picture alone; `begin` reads nothing of the scene, which may be None."""

    def begin(self, scene: Scene | None, rng: np.random.Generator) -> None:
        """A new episode starts."""


class Blur(Sensor):
    """Out of focus: a Gaussian of up to 3 % of the picture's height."""

    def apply(self, picture: np.ndarray, agent_step: int) -> np.ndarray:
        width = _BLUR * self.strength * picture.shape[0]
        if width == 0:
            return picture
        # Of bytes it would round down, once along each axis.
        return _to_bytes(gaussian_filter(picture.astype(np.float32), (width, width, 0)))


class Brightness(Sensor):
    """Lighter or darker by up to 80 of 255."""

    def begin(self, scene: Scene | None, rng: np.random.Generator) -> None:
        self._sign = signed_share(rng)

    def apply(self, picture: np.ndarray, agent_step: int) -> np.ndarray:
        return _to_bytes(picture + _BRIGHTNESS * self.strength * self._sign)


class Contrast(Sensor):
    """Distances from the picture's mean are multiplied, by up to 2.5, or divided."""

    def begin(self, scene: Scene | None, rng: np.random.Generator) -> None:
        self._sign = signed_share(rng)

    def apply(self, picture: np.ndarray, agent_step: int) -> np.ndarray:
        if self.strength == 0:
            return picture
        mean = picture.mean((0, 1))
        return _to_bytes(mean + np.exp(_EXPONENT * self.strength * self._sign) * (picture - mean))


class Gamma(Sensor):
    """Another gamma curve, with an exponent of up to 2.5, or its inverse."""

    def begin(self, scene: Scene | None, rng: np.random.Generator) -> None:
        self._sign = signed_share(rng)

    def apply(self, picture: np.ndarray, agent_step: int) -> np.ndarray:
        curve = 255 * (np.arange(256) / 255) ** np.exp(_EXPONENT * self.strength * self._sign)
        return _to_bytes(curve)[picture]


class Noise(Sensor):
    """Gaussian noise on each pixel and channel, of standard deviation up to 50 of 255."""

    def begin(self, scene: Scene | None, rng: np.random.Generator) -> None:
        self._moments = Moments(rng)

    def apply(self, picture: np.ndarray, agent_step: int) -> np.ndarray:
        noise = self._moments.at(agent_step).standard_normal(picture.shape, np.float32)
        return _to_bytes(picture + _NOISE * self.strength * noise)


class DeadPixels(Sensor):
    """Up to 4 % of the pixels show always the same: black, white, or another colour whose channels are on or off."""

    def begin(self, scene: Scene | None, rng: np.random.Generator) -> None:
        self._moments = Moments(rng)

    def apply(self, picture: np.ndarray, agent_step: int) -> np.ndarray:
        rng, shape = self._moments.at(0), picture.shape[:2]
        # As many numbers whatever the strength: a pixel that is dead at one is dead at every larger one.
        dead = rng.uniform(size=shape) < _DEAD * self.strength
        shown = 255 * rng.integers(2, size=picture.shape, dtype=np.uint8)
        return np.where(dead[..., None], shown, picture)


class Compression(Sensor):
    """JPEG, from quality 90 down to 6."""

    def apply(self, picture: np.ndarray, agent_step: int) -> np.ndarray:
        if self.strength == 0:
            return picture
        file = io.BytesIO()
        gray = picture.shape[2] == 1
        image = Image.fromarray(picture[..., 0] if gray else picture)
        image.save(file, "JPEG", quality=round(_BEST + self.strength * (_WORST - _BEST)))
        return np.asarray(Image.open(file)).reshape(picture.shape)


class DroppedFrames(Sensor):
    """Up to 30 % of the pictures are black."""

    def begin(self, scene: Scene | None, rng: np.random.Generator) -> None:
        self._moments = Moments(rng)

    def apply(self, picture: np.ndarray, agent_step: int) -> np.ndarray:
        dropped = self._moments.at(agent_step).uniform() < _DROPPED * self.strength
        return np.zeros_like(picture) if dropped else picture


class RepeatedFrames(Sensor):
    """The camera stalls, for one to four pictures that show the one before; at most about half of all are such."""

    def begin(self, scene: Scene | None, rng: np.random.Generator) -> None:
        self._moments, self._shown = Moments(rng), dict[tuple[int, ...], np.ndarray]()

    def apply(self, picture: np.ndarray, agent_step: int) -> np.ndarray:
        if self._stalls(agent_step) and picture.shape in self._shown:
            return self._shown[picture.shape]
        self._shown[picture.shape] = picture
        return picture

    def _stalls(self, agent_step: int) -> bool:
        """Whether a stall began at this decision or lasts from one of those before; never at the first."""
        for earlier in range(max(1, agent_step - _LONGEST + 1), agent_step + 1):
            rng = self._moments.at(earlier)
            if rng.uniform() < _STALLED * self.strength and earlier + rng.integers(1, _LONGEST + 1) > agent_step:
                return True
        return False


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
