"""A strong augmentation of what the acting agent sees, while the scene is recorded without it."""

from collections import deque

import numpy as np
import torch
from torch import Tensor

from pad.strong import LAYERED, Augmentation, AugmentationName, draw_augmentation

LENGTH = 64
"""Frames of a film. It is shown forwards and backwards in turn."""


class Disguise:
    """One strong augmentation of an environment's observations, the same for a whole episode.

    Args:
        frame_channels: colours of a frame.
        layered: whether observations have one channel more, what each pixel of the newest frame shows.
        seed: decides all random parameters.
        pictures: to show in place of generated ones, uint8 (picture, colors, height, width).
    """

    def __init__(
        self,
        name: AugmentationName,
        frame_channels: int,
        layered: bool,
        seed: int,
        pictures: Tensor | None = None,
    ) -> None:
        self._name, self._colors, self._layered = name, frame_channels, layered
        self._seed, self._pictures = seed, pictures
        self._augmentation: Augmentation | None = None
        self._index = 0
        self._frames: deque[np.ndarray] = deque()

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """The next observation of the episode as the agent sees it: uint8 (stacked frames' colors, height, width)."""
        newest = obs[-self._colors - self._layered :]
        frame = torch.from_numpy(newest if self._name == LAYERED else newest[: self._colors])[None, None]
        if self._augmentation is None:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self._seed)  # not those of devices, which nobody gives back
                self._augmentation = draw_augmentation(self._name, frame, LENGTH, self._pictures)
            self._frames = deque(maxlen=(len(obs) - self._layered) // self._colors)
        index = self._index % (2 * LENGTH - 2)
        index = min(index, 2 * LENGTH - 2 - index)
        self._index += 1
        shown = self._augmentation(frame, slice(index, index + 1))[0, 0].numpy()
        # An episode begins with its first frame, as often as frames are stacked.
        self._frames.extend([shown] * (1 if self._frames else self._frames.maxlen or 1))
        return np.concatenate(self._frames)
