"""What a scene looks like to the agent that acts in it, though it is recorded as it is."""

from collections import deque

import numpy as np
import torch
from torch import Tensor

from pad.strong import LAYERED, Look, StrongAugmentation, draw_look

LENGTH = 64
"""Moments of a film. It is shown forwards and backwards in turn."""


class Disguise:
    """One strong augmentation of an environment's observations, the same for a whole episode.

    Args:
        frame_channels: colours of a frame.
        layered: whether observations have one channel more, what each pixel of the newest frame shows.
        seed: of all that is drawn.
        pictures: to show in place of generated ones, uint8 (picture, colors, height, width).
    """

    def __init__(
        self,
        kind: StrongAugmentation,
        frame_channels: int,
        layered: bool,
        seed: int,
        pictures: Tensor | None = None,
    ) -> None:
        self._kind, self._colors, self._layered = kind, frame_channels, layered
        self._seed, self._pictures = seed, pictures
        self._look: Look | None = None
        self._moment = 0
        self._frames: deque[np.ndarray] = deque()

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """The next observation of the episode as the agent sees it: uint8 (stacked frames' colors, height, width)."""
        newest = obs[-self._colors - self._layered :]
        frame = torch.from_numpy(newest if self._kind == LAYERED else newest[: self._colors])[None, None]
        if self._look is None:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self._seed)  # not those of devices, which nobody gives back
                self._look = draw_look(self._kind, frame, LENGTH, self._pictures)
            self._frames = deque(maxlen=(len(obs) - self._layered) // self._colors)
        moment = self._moment % (2 * LENGTH - 2)
        moment = min(moment, 2 * LENGTH - 2 - moment)
        self._moment += 1
        shown = self._look(frame, slice(moment, moment + 1))[0, 0].numpy()
        # An episode begins with its first frame, as often as frames are stacked.
        self._frames.extend([shown] * (1 if self._frames else self._frames.maxlen or 1))
        return np.concatenate(self._frames)
