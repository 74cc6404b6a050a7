"""Runs phases one after the other, looks at the policy now and then, and loses nothing.

A checkpoint describes the run at the end of an episode. A run that is killed goes on from the last
one on disk, one that is interrupted from the last episode, and both end where an unbroken run
would have ended.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from pad import settings
from pad.calibration import Calibration
from pad.checkpoint import Checkpoint, find_checkpoint, load_train_state, save_checkpoint
from pad.tracking import Tracker, progress_bar, say, summarize
from pad.training.config import TrainingConfig
from pad.training.phase import Phase
from pad.types import Metrics

Evaluate = Callable[[Callable[[np.ndarray], np.ndarray], int, Path | None], Metrics]
"""Return of a policy over some episodes of the training environment; given a path, also a video."""


class Interrupted(Exception):
    """The run was asked to stop, and has saved its state."""


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


def train(
    run: Run,
    checkpoint: Checkpoint,
    phases: list[Phase],
    config: TrainingConfig,
    evaluate: Evaluate,
    tracker: Tracker,
    resume: bool = False,
    finish: Callable[[], None] = lambda: None,
) -> None:
    """Train to the end, from where the run's checkpoint stands if `resume`.

    Args:
        finish: called on the trained agent, before it is saved for the last time.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM, when the state of the last whole episode is on disk.
    """
    keeper = _Keeper(run, checkpoint, phases, config.save_seconds, tracker)
    if resume:
        keeper.resume()
    else:
        tracker.truncate(0)  # a run that was killed before its first checkpoint begins anew
        keeper.note()
    try:
        with _interruptible() as stop:
            for index, phase in enumerate(phases):
                if index < keeper.phase:
                    continue
                keeper.phase = index
                _run_phase(phase, keeper.steps_before(), len(phases), index, keeper, evaluate, config, tracker, stop)
                keeper.ended[phase.name] = phase.done
            keeper.note()
            keeper.save()
            if stop():
                raise Interrupted
        # Nothing is left to save: from here on an interrupt ends the run at once, and resumed it finishes.
        try:
            finish()
        except KeyboardInterrupt:
            raise Interrupted from None
        keeper.finished = True
        keeper.save()
    finally:
        for phase in phases:
            phase.close()


def _run_phase(
    phase: Phase,
    offset: int,
    count: int,
    index: int,
    keeper: "_Keeper",
    evaluate: Evaluate,
    config: TrainingConfig,
    tracker: Tracker,
    stop: Callable[[], bool],
) -> None:
    def advance(units: int) -> None:
        bar.update(units)
        if stop():
            raise KeyboardInterrupt

    with progress_bar(f"{phase.name} ({index + 1}/{count})", phase.total, phase.done, phase.unit) as bar:
        while phase.done < phase.total:
            try:
                metrics = phase.run_episode(advance)
            except KeyboardInterrupt:
                keeper.save()
                raise Interrupted from None
            step = offset + phase.done
            # What is on disk is still whole, and stays so.
            if broken := [name for name, value in metrics.items() if not np.isfinite(value)]:
                raise ValueError(f"training went wrong in {phase.name} at {phase.done} of {phase.total} {phase.unit}: "
                                 f"{', '.join(broken)} is no number; smaller steps may help")  # fmt: skip
            tracker.log({f"{phase.name}/{name}": value for name, value in metrics.items()}, step)
            bar.set_postfix_str(summarize({n: v for n, v in metrics.items() if "return" in n or n == "cloning_loss"}))
            milestone = config.evaluations * phase.done // phase.total
            if milestone > keeper.evaluated.get(phase.name, 0):
                keeper.evaluated[phase.name] = milestone
                _evaluate(phase, step, keeper.run, evaluate, config, tracker)
            keeper.note()
            keeper.save_sometimes()
            if stop():
                keeper.save()
                raise Interrupted


def _evaluate(phase: Phase, step: int, run: Run, evaluate: Evaluate, config: TrainingConfig, tracker: Tracker) -> None:
    video = None
    if phase.trains_agent:
        run.videos.mkdir(parents=True, exist_ok=True)
        video = run.videos / f"step_{step}.mp4"
    metrics = evaluate(phase.act, config.evaluation_episodes, video)
    phase.note_evaluation(metrics["return_mean"])
    tracker.log({f"{phase.name}/evaluation_{name}": value for name, value in metrics.items()}, step)
    if video is not None and video.is_file():
        tracker.log_video(f"{phase.name}/evaluation_video", video, step)
    say(f"{phase.name} at {phase.done} of {phase.total} {phase.unit}: {summarize(metrics)}")


class _Keeper:
    """Keeps the state of the last whole episode in memory, and from time to time on disk."""

    def __init__(
        self, run: Run, checkpoint: Checkpoint, phases: list[Phase], save_seconds: float, tracker: Tracker
    ) -> None:
        self.run, self._checkpoint, self._phases = run, checkpoint, phases
        self._save_seconds, self._tracker = save_seconds, tracker
        self.phase, self.finished = 0, False
        self.evaluated: dict[str, int] = {}
        self.ended: dict[str, int] = {}
        """Units of each phase that is over: the last episode may go beyond its total."""
        self._saved = time.monotonic()
        self._noted: dict[str, Any] = {}
        self._trained_before = 0.0
        self._started = time.monotonic()

    def steps_before(self) -> int:
        """Units of the phases before this one."""
        return sum(self.ended.get(phase.name, phase.total) for phase in self._phases[: self.phase])

    def note(self) -> None:
        """Remember the run as it is now, at the end of an episode."""
        seconds = self._trained_before + time.monotonic() - self._started
        self._noted = {
            "phase": self.phase,
            "state": deepcopy(self._phases[self.phase].state_dict()),
            "evaluated": dict(self.evaluated),
            "ended": dict(self.ended),
            "torch_rng": torch.get_rng_state(),
            "log_position": self._tracker.position(),
            "seconds": seconds,
            "agent": {name: value.detach().clone() for name, value in self._checkpoint.agent.state_dict().items()},
        }
        device = self._checkpoint.agent.device
        if device.type == "cuda":
            self._noted["cuda_rng"] = torch.cuda.get_rng_state(device)

    def save_sometimes(self) -> None:
        if time.monotonic() - self._saved >= self._save_seconds:
            self.save()

    def save(self) -> None:
        """Write the noted state to disk."""
        noted, phase = self._noted, self._phases[self._noted["phase"]]
        phase.flush()
        agent = self._checkpoint.agent
        present = {name: value.detach().clone() for name, value in agent.state_dict().items()}
        # An interrupt may come in the middle of an episode: the weights go back to its beginning.
        agent.load_state_dict(noted["agent"])
        about = {**self._checkpoint.about, "training_minutes": round(noted["seconds"] / 60, 1),
                 "finished": self.finished}  # fmt: skip
        train_state = {name: value for name, value in noted.items() if name != "agent"}
        if agent.calibration is not None:
            train_state["calibration"] = settings.to_dict(agent.calibration)
        written = Checkpoint(agent, self._checkpoint.env, about)
        save_checkpoint(self.run.checkpoint, written, train_state, model=phase.trains_agent)
        agent.load_state_dict(present)
        self._saved = time.monotonic()

    def resume(self) -> None:
        """Go back to the state on disk."""
        folder = find_checkpoint(self.run.checkpoint)
        state = load_train_state(folder)
        if missing := {"phase", "state", "evaluated", "torch_rng", "log_position", "seconds"} - state.keys():
            raise ValueError(f"{folder} holds no state of this training: it lacks {', '.join(sorted(missing))}")
        self.phase, self.evaluated, self.ended = state["phase"], state["evaluated"], state.get("ended", {})
        self._phases[self.phase].load_state_dict(state["state"])
        torch.set_rng_state(state["torch_rng"])
        if self._checkpoint.agent.device.type == "cuda" and "cuda_rng" in state:
            torch.cuda.set_rng_state(state["cuda_rng"], self._checkpoint.agent.device)
        if "calibration" in state:
            self._checkpoint.agent.calibration = settings.from_dict(Calibration, state["calibration"], "calibration")
        self._tracker.truncate(state["log_position"])
        self._trained_before = state["seconds"]
        self.note()


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """While open, SIGINT and SIGTERM only raise a flag; a second one ends the process as usual."""
    asked = told = False

    def ask(number: int, _: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, previous[signal.Signals(number)])

    def stop() -> bool:
        nonlocal told
        if asked and not told:  # here, since whoever is interrupted may be printing
            told = True
            say("stopping: saving the state of the last whole episode")
        return asked

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
