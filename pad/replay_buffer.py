"""Experience on disk or in memory, with every frame stored once.

Observations are stacks of successive frames, so two neighbours share all frames but one. Only the
newest frame of each observation is kept, and stacks are put together when a batch is drawn.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pad.types import Batch

_GROWTH = 4096  # slots by which a file on disk grows


class ReplayBuffer:
    """A ring of frames and what was done between them.

    An episode of T transitions takes T + 1 slots. With a `folder` the slots are memory-mapped
    files that grow as they fill; reserving their space first turns a full disk into an OSError
    instead of a crash. Batches are drawn with a generator of the buffer's own, part of its state.

    Args:
        capacity: slots; the oldest are overwritten beyond it.
        frame_shape: of one frame; observations stack `frame_stack` of them on the first axis.
        extras: names and sizes of further vectors kept with each transition.
    """

    def __init__(
        self,
        capacity: int,
        frame_shape: tuple[int, ...],
        action_size: int,
        frame_stack: int = 1,
        dtype: type = np.uint8,
        extras: Mapping[str, int] | None = None,
        folder: Path | None = None,
        seed: int = 0,
    ) -> None:
        if capacity < 2:
            raise ValueError(f"capacity must be at least 2, got {capacity}")
        self.capacity, self._frame_stack, self._folder = capacity, frame_stack, folder
        self._extras = dict(extras or {})
        self._layout: dict[str, tuple[tuple[int, ...], Any]] = {
            "frame": (frame_shape, dtype),
            "action": ((action_size,), np.float32),
            "reward": ((), np.float32),
            "terminated": ((), np.bool_),
            "episode": ((), np.int64),
            "step": ((), np.int64),
            **{name: ((size,), np.float32) for name, size in self._extras.items()},
        }
        self._channels = frame_shape[0] if frame_shape else 1
        self._newest = np.zeros(0)
        self._arrays: dict[str, np.ndarray] = {}
        self._next, self._filled, self._episode, self._transitions = 0, 0, -1, 0
        self._rng = np.random.default_rng(seed)

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of the further vectors that each transition has."""
        return tuple(self._extras)

    def __len__(self) -> int:
        """Transitions added so far that have not been overwritten, at least."""
        return min(self._transitions, self._filled)

    def begin(self, obs: np.ndarray) -> None:
        """Begin an episode with this observation.

        Raises:
            ValueError: when it stacks different frames: there is only one so far.
        """
        if self._is_stacked(obs) and (obs[: -self._channels] != obs[self._channels :]).any():
            raise ValueError(
                "the first observation of an episode must be its first frame as often as frames are stacked"
            )
        self._episode += 1
        self._store(obs, step=0)

    def append(
        self, action: np.ndarray, reward: float, terminated: bool, next_obs: np.ndarray, **extras: np.ndarray
    ) -> None:
        """Add what was done in the newest observation, and what came of it.

        Raises:
            ValueError: when the next observation is not the newest one with one more frame at its end.
        """
        if self._is_stacked(next_obs) and (next_obs[: -self._channels] != self._newest[self._channels :]).any():
            raise ValueError("each observation must be the one before, without its first frame and with a new one last")
        here = (self._next - 1) % self.capacity
        step = int(self._arrays["step"][here]) + 1
        for name, value in {"action": action, "reward": reward, "terminated": terminated, **extras}.items():
            self._arrays[name][here] = value
        self._store(next_obs, step)
        self._transitions += 1

    def _is_stacked(self, obs: np.ndarray) -> bool:
        """Whether an array holds all frames of an observation, and not the newest alone or with something beside it."""
        return self._frame_stack > 1 and len(obs) == self._channels * self._frame_stack

    def _store(self, obs: np.ndarray, step: int) -> None:
        self._reserve(self._next + 1)
        self._arrays["frame"][self._next] = obs[-self._channels :]
        self._newest = np.array(obs)  # a copy: an environment may use its arrays again
        self._arrays["episode"][self._next], self._arrays["step"][self._next] = self._episode, step
        self._next = (self._next + 1) % self.capacity
        self._filled = min(self._filled + 1, self.capacity)

    def sample(self, size: int, device: torch.device | str = "cpu") -> Batch:
        """Transitions drawn uniformly, each observation with its frames stacked."""
        if not len(self):
            raise ValueError("the replay buffer holds no transition yet")
        indices = self._draw(size)
        arrays = {name: np.asarray(self._arrays[name][indices]) for name in self._layout if name != "frame"}

        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(array).to(device)

        # Both observations are views of the same frames, most of which they share.
        frames = tensor(self._frames(indices))
        channels = frames.shape[1] // (self._frame_stack + 1)
        return Batch(
            obs=frames[:, :-channels],
            action=tensor(arrays["action"]),
            reward=tensor(arrays["reward"]),
            terminated=tensor(arrays["terminated"]),
            next_obs=frames[:, channels:],
            extras={name: tensor(arrays[name]) for name in self._extras},
        )

    def _draw(self, size: int) -> np.ndarray:
        """Slots that still have their whole history and a successor, by rejection."""
        accepted = np.empty(0, np.int64)
        while len(accepted) < size:
            slots = self._rng.integers(self._filled, size=2 * size)
            accepted = np.concatenate([accepted, slots[self._is_valid(slots)]])
        return accepted[:size]

    def _is_valid(self, slots: np.ndarray) -> np.ndarray:
        episode, step = self._arrays["episode"], self._arrays["step"]
        age = np.minimum(step[slots], self._frame_stack - 1)
        oldest = (slots - age) % self.capacity
        # The newest slot's successor is the oldest, told apart by the step, or none yet: then itself.
        successor = np.minimum((slots + 1) % self.capacity, self._filled - 1)
        return np.asarray(
            (episode[slots] >= 0)  # else overwritten
            & (episode[oldest] == episode[slots])
            & (step[oldest] == step[slots] - age)
            & (episode[successor] == episode[slots])
            & (step[successor] == step[slots] + 1)
        )

    def _frames(self, slots: np.ndarray) -> np.ndarray:
        """The stacked frames of each observation, and after them the one that came next."""
        step = self._arrays["step"][slots]
        ages = np.arange(self._frame_stack - 1, -1, -1)
        # Before the first frame of an episode there is only the first frame.
        history = slots[:, None] - np.minimum(ages, step[:, None])
        wanted = np.concatenate([history, slots[:, None] + 1], axis=1) % self.capacity
        frames = self._arrays["frame"][wanted]
        return frames.reshape(len(slots), -1, *frames.shape[3:])

    def _reserve(self, slots: int) -> None:
        have = len(self._arrays["frame"]) if self._arrays else -1
        if slots <= have:
            return
        if self._folder is None:  # memory is handed out by the system as it is written to
            wanted = self.capacity
            self._arrays = {n: np.zeros((wanted, *shape), dtype) for n, (shape, dtype) in self._layout.items()}
            return
        wanted = min(self.capacity, -(-max(slots, 1) // _GROWTH) * _GROWTH)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._arrays = {name: self._map(self._folder, name, wanted) for name in self._layout}

    def _map(self, folder: Path, name: str, slots: int) -> np.ndarray:
        shape, dtype = self._layout[name]
        path, size = folder / f"{name}.bin", slots * int(np.prod(shape)) * np.dtype(dtype).itemsize
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if os.fstat(descriptor).st_size < size:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(descriptor, 0, size)
                else:
                    os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)
        return np.memmap(path, dtype, "r+", shape=(slots, *shape))

    def flush(self) -> None:
        """Write what is in memory to disk."""
        for array in self._arrays.values():
            if isinstance(array, np.memmap):
                array.flush()

    def state_dict(self) -> dict[str, Any]:
        """Positions and generator; the slots themselves stay in the folder."""
        return {
            "next": self._next,
            "filled": self._filled,
            "episode": self._episode,
            "transitions": self._transitions,
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a saved position; what was added since then is overwritten.

        Raises:
            ValueError: when the folder's files are shorter than that position.
        """
        for name, (shape, dtype) in self._layout.items():
            if self._folder is None:
                break
            path = self._folder / f"{name}.bin"
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            have = path.stat().st_size // size if path.is_file() else 0
            if have < state["filled"]:
                raise ValueError(f"{path} holds {have} slots of the replay, the checkpoint needs {state['filled']}")
        self._next, self._filled = state["next"], state["filled"]
        self._episode, self._transitions = state["episode"], state["transitions"]
        self._rng.bit_generator.state = state["rng"]
        self._reserve(self._filled)
        # Of a full ring the oldest slots may have been overwritten by episodes that are now run again.
        held = self._arrays["episode"][: self._filled]
        overwritten = held > self._episode
        if overwritten.any():
            held[overwritten] = -1
            self._transitions = int(self._is_valid(np.arange(self._filled)).sum())
