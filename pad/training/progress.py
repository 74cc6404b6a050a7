"""How far a training run has come: in memory after each episode, and from time to time on disk."""

import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pad import settings
from pad.calibration import Calibration
from pad.checkpoint import Checkpoint, find_checkpoint, load_train_state, save_checkpoint
from pad.tracking import Tracker
from pad.training.phase import Phase


@dataclass
class Run:
    """Where a training run keeps what it makes."""

    folder: Path

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    @property
    def videos(self) -> Path:
        return self.folder / "videos"


class Progress:
    """Which phase a run is in, and the state of its last whole episode.

    Args:
        checkpoint: its agent is the one that the phases train, in place.
        save_seconds: least time between two calls of `save_sometimes` that write.
    """

    def __init__(
        self, run: Run, checkpoint: Checkpoint, phases: list[Phase], save_seconds: float, tracker: Tracker
    ) -> None:
        self._run, self._checkpoint, self._phases = run, checkpoint, phases
        self._save_seconds, self._tracker = save_seconds, tracker
        self.index = 0
        """Number of the phase that is trained, from 0."""
        self.finished = False
        self._evaluated: dict[str, int] = {}
        """Evaluations of each phase so far."""
        self._ended: dict[str, int] = {}
        """Units of each phase that is over: the last episode may go beyond its total."""
        self._noted: dict[str, Any] = {}
        self._seconds_before = 0.0
        self._saved = self._started = time.monotonic()

    @property
    def phase(self) -> Phase:
        return self._phases[self.index]

    @property
    def step(self) -> int:
        """Units of this phase and those before it together: what metrics are logged under."""
        return sum(self._ended.get(phase.name, phase.total) for phase in self._phases[: self.index]) + self.phase.done

    def begin(self) -> None:
        """Start anew, without the metrics of a run that was killed before its first checkpoint."""
        self._tracker.truncate(0)
        self.note()

    def resume(self) -> None:
        """Go back to the state on disk.

        Raises:
            FileNotFoundError: when there is none.
            ValueError: when it is not that of a training.
        """
        folder = find_checkpoint(self._run.checkpoint)
        state = load_train_state(folder)
        if missing := {"phase", "state", "evaluated", "torch_rng", "log_position", "seconds"} - state.keys():
            raise ValueError(f"{folder} holds no state of this training: it lacks {', '.join(sorted(missing))}")
        self.index, self._evaluated, self._ended = state["phase"], state["evaluated"], state.get("ended", {})
        self.phase.load_state_dict(state["state"])
        agent = self._checkpoint.agent
        torch.set_rng_state(state["torch_rng"])
        if agent.device.type == "cuda" and "cuda_rng" in state:
            torch.cuda.set_rng_state(state["cuda_rng"], agent.device)
        if "calibration" in state:
            agent.calibration = settings.from_dict(Calibration, state["calibration"], "calibration")
        self._tracker.truncate(state["log_position"])
        self._seconds_before = state["seconds"]
        self.note()

    def take_evaluation(self, evaluations: int) -> bool:
        """Count the next of so many evaluations as made, if the phase has come to it; says whether it has."""
        reached = evaluations * self.phase.done // self.phase.total
        if reached <= self._evaluated.get(self.phase.name, 0):
            return False
        self._evaluated[self.phase.name] = reached
        return True

    def end_phase(self) -> None:
        """The phase is over: note how far it went."""
        self._ended[self.phase.name] = self.phase.done

    def note(self) -> None:
        """Remember the run as it is now, at the end of an episode.

        Raises:
            ValueError: when what was learned is no number any more; what was noted and saved before is left.
        """
        agent = self._checkpoint.agent
        noted = {
            "phase": self.index,
            "state": deepcopy(self.phase.state_dict()),
            "evaluated": dict(self._evaluated),
            "ended": dict(self._ended),
            "torch_rng": torch.get_rng_state(),
            "log_position": self._tracker.position(),
            "seconds": self._seconds_before + time.monotonic() - self._started,
            "agent": {name: value.detach().clone() for name, value in agent.state_dict().items()},
        }
        if agent.device.type == "cuda":
            noted["cuda_rng"] = torch.cuda.get_rng_state(agent.device)
        # Metrics are of before an update's step: its weights they do not show.
        if not all(bool(tensor.isfinite().all()) for tensor in _tensors([noted["state"], noted["agent"]])):
            phase = self.phase
            raise ValueError(
                f"training went wrong in {phase.name} at {phase.done} of {phase.total} {phase.unit}: its weights or "
                "their optimizer hold NaN or infinity; smaller steps may help"
            )
        self._noted = noted

    def save_sometimes(self) -> None:
        """Write the noted state if the last time was long enough ago."""
        if time.monotonic() - self._saved >= self._save_seconds:
            self.save()

    def save(self) -> None:
        """Write the noted state to disk.

        Raises:
            OSError: when the disk does not take it; the checkpoint that was there is left.
        """
        train_state, phase = dict(self._noted), self._phases[self._noted["phase"]]
        phase.flush()
        # A copy with the noted weights: in the middle of an episode the agent itself has gone on.
        agent = deepcopy(self._checkpoint.agent)
        agent.load_state_dict(train_state.pop("agent"))
        about = {**self._checkpoint.about, "training_minutes": round(train_state["seconds"] / 60, 1),
                 "finished": self.finished}  # fmt: skip
        if agent.calibration is not None:
            train_state["calibration"] = settings.to_dict(agent.calibration)
        written = Checkpoint(agent, self._checkpoint.env, about)
        save_checkpoint(self._run.checkpoint, written, train_state, model=phase.trains_agent)
        self._saved = time.monotonic()


def _tensors(state: Any) -> Iterator[torch.Tensor]:
    """All floating-point tensors in nested containers."""
    if isinstance(state, torch.Tensor):
        if state.is_floating_point():
            yield state
    elif isinstance(state, (dict, list, tuple)):
        for value in state.values() if isinstance(state, dict) else state:
            yield from _tensors(value)
