"""Small guards around learning. Each can be used alone; each says why it acted.

The gate, which says when to learn at all, is in `pad.gate`.
"""

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pad.deployment.camera import Camera, Observation

CONSTANT = 0.01
"""A frame whose values span no more than this share of the range shows nothing."""
SUDDEN = 0.08
"""A mean difference between successive frames below this share of the range is never sudden."""
STEP_FACTOR = 1.5
"""Nor is one below this many times the largest of training."""
SUDDEN_FACTOR = 4.0
"""Above that, sudden is what exceeds this many times the largest recent difference, but for glitches."""
PATIENCE = 5
"""Frames in a row that may be found sudden; then the scene is taken to be what it looks like."""
RECENT = 32
GLITCHES = 4
"""Of the recent differences so many, the largest, say nothing about how fast scenes change: two glitches, there and
back."""
TRIAL_PATIENCE = 8
"""Lengths of a trial after which weights that were never accepted are given up."""


class FrameGuard:
    """Tells observations of a working camera from others, by their pixels and those of the last valid one.

    `check` answers None, or why an observation is not valid: `type`, `shape`, `dtype` (not what was
    declared), `not_finite`, `constant` (black, white, or any one colour), `sudden` (far from the frame
    before, and the next one far from it again: noise, a shifted picture; a scene that changes and stays is
    taken after one decision).

    Args:
        largest_step: largest mean difference between successive frames where the policy was trained, as a share of the
            range; None where nobody measured it.
    """

    def __init__(self, cameras: Sequence[Camera], largest_step: float | None = None) -> None:
        self._cameras = tuple(cameras)
        self._least_limit = max(SUDDEN, STEP_FACTOR * (largest_step or 0.0))
        self._differences: deque[float] = deque(maxlen=RECENT)
        self.reset()

    def reset(self) -> None:
        """A new episode begins: its first frame may look like anything. How fast scenes change is remembered."""
        self._valid: list[np.ndarray] | None = None
        self._doubted: list[np.ndarray] | None = None
        self._steps: list[float] = []

    def check(self, obs: Observation, remember: bool = True) -> str | None:
        """Why not to use an observation, the next one in the stream; None when it is valid.

        Args:
            remember: False for one that is not the newest: it is judged by itself, and leaves no trace.
        """
        frames = []
        for camera in self._cameras:
            try:
                pixels = camera.pick(obs)
            except TypeError:
                return "type"
            if fault := camera.fault(pixels) or _blind(pixels, camera):
                return fault
            frames.append(_newest(pixels, camera))
        return "sudden" if remember and self._is_sudden(frames) else None

    def _is_sudden(self, frames: list[np.ndarray]) -> bool:
        if self._valid is None:
            self._valid = frames
            return False
        difference, limit = _difference(frames, self._valid), self._limit()
        if difference <= limit:
            self._differences.append(difference)
        else:
            if self._doubted is not None:
                self._steps.append(_difference(frames, self._doubted))
            settled = bool(self._steps) and self._steps[-1] <= limit
            if not settled and len(self._steps) < PATIENCE:
                self._doubted = frames
                return True
            # A new scene: it says nothing about how fast scenes change, unless they always change so fast.
            if not settled:
                self._differences.extend(self._steps)
        self._valid, self._doubted, self._steps = frames, None, []
        return False

    def _limit(self) -> float:
        largest = sorted(self._differences)[-1 - GLITCHES :]
        # What was never sudden is no glitch: after a rest a scene may begin to move.
        calm = max((step for step in self._differences if step <= self._least_limit), default=0.0)
        return max(self._least_limit, SUDDEN_FACTOR * max(calm, min(largest, default=0.0)))


def _blind(pixels: np.ndarray, camera: Camera) -> str | None:
    if not np.issubdtype(pixels.dtype, np.integer) and not np.isfinite(pixels).all():
        return "not_finite"
    seen = camera.channels_first(pixels)[:, ::2, ::2]
    by_channel = seen.reshape(-1, camera.frame_channels, seen.shape[1] * seen.shape[2])
    span = by_channel.max(2).astype(np.float64) - by_channel.min(2)
    return "constant" if span.max(1).min() <= CONSTANT * (camera.high - camera.low) else None


def _newest(pixels: np.ndarray, camera: Camera) -> np.ndarray:
    """The last frame, as shares of the range."""
    frame = camera.channels_first(pixels)[-camera.frame_channels :]
    return (frame.astype(np.float32) - camera.low) / (camera.high - camera.low)


def _difference(frames: list[np.ndarray], others: list[np.ndarray]) -> float:
    """Mean difference between two frames of each camera, for the camera that differs most."""
    return max(float(np.abs(a - b).mean()) for a, b in zip(frames, others, strict=True))


class Trial:
    """What to accept: new weights are measured beside those in use, on each transition before they learn from it.

    Args:
        length: transitions in a row on which the new ones must do better on average.
        action_jump: largest root mean square difference between the two's actions there; None for any.
    """

    def __init__(self, length: int, action_jump: float | None) -> None:
        self._length, self._action_jump = length, action_jump
        self.reset()

    def reset(self) -> None:
        """A new trial begins."""
        self._gains: deque[float] = deque(maxlen=self._length)
        self._jumps: deque[float] = deque(maxlen=self._length)
        self._count = 0

    def add(self, used_loss: float, tried_loss: float, used_action: np.ndarray, tried_action: np.ndarray) -> str | None:
        """Take note of one transition; `accepted` as soon as the last ones allow it.

        When they have not allowed it for long, why not: `worse` or `action_jump`.
        """
        self._gains.append(used_loss - tried_loss)
        self._jumps.append(float(np.square(np.asarray(tried_action, float) - np.asarray(used_action, float)).mean()))
        self._count += 1
        if self._count < self._length:
            return None
        better = sum(self._gains) > 0  # no if it is no number
        near = self._action_jump is None or math.sqrt(sum(self._jumps) / self._length) <= self._action_jump
        if not (better and near):
            if self._count < TRIAL_PATIENCE * self._length:
                return None
            self.reset()
            return "action_jump" if better else "worse"
        self.reset()
        return "accepted"


class DriftGuard:
    """How far weights may move from the trained ones.

    Args:
        trained: the weights that count as home.
        budget: largest distance, as a share of their norm; None for any.
        pull: share of the distance that `hold` gives back each time.
    """

    def __init__(self, trained: Sequence[Tensor], budget: float | None, pull: float = 0.0) -> None:
        self._trained, self._pull = list(trained), pull
        norm = _norm(self._trained)
        self._largest = math.inf if budget is None else budget * norm
        self._norm = norm

    def distance(self, weights: Sequence[Tensor]) -> float:
        """Distance of weights from the trained ones, as a share of these weights' norm."""
        return self._length(weights) / max(self._norm, 1e-12)

    @torch.no_grad()
    def hold(self, weights: Sequence[Tensor]) -> bool:
        """Pull weights back in place, and hold them within the budget; says whether that was needed."""
        if not self._pull and math.isinf(self._largest):
            return False
        keep = 1 - self._pull
        length = keep * self._length(weights)
        held = length > self._largest
        if held:
            keep *= self._largest / length
        if keep < 1:
            for moved, home in zip(weights, self._trained, strict=True):
                moved.sub_(home).mul_(keep).add_(home)
        return held

    @torch.no_grad()
    def _length(self, weights: Sequence[Tensor]) -> float:
        return _norm(torch._foreach_sub(list(weights), self._trained))


def _norm(tensors: Sequence[Tensor]) -> float:
    # PyTorch's own get_total_norm sorts by device and type first, which takes longer than this.
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors)))))


class FailureGuard:
    """When to give up: after so many failures with nothing good between them."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self.in_a_row = 0

    def failed(self) -> bool:
        """Take note of a failure; says whether it was one too many."""
        self.in_a_row += 1
        return self._limit is not None and self.in_a_row >= self._limit

    def succeeded(self) -> None:
        """Take note of something good."""
        self.in_a_row = 0
