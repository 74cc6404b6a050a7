"""Runs phases one after the other, looks at the policy now and then, and loses nothing.

A checkpoint describes the run at the end of an episode. A run that is killed goes on from the last
one on disk, one that is interrupted from the last episode, and both end where an unbroken run
would have ended.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pad.checkpoint import Checkpoint
from pad.tracking import Tracker, progress_bar, say, summarize
from pad.training.config import TrainingConfig
from pad.training.interruption import Interrupted, interruptible
from pad.training.phase import Advance, Phase
from pad.training.progress import Progress, Run
from pad.types import Metrics

Evaluate = Callable[[Callable[[np.ndarray], np.ndarray], int, Path | None], Metrics]
"""Return of a policy over some episodes of the training environment; given a path, also a video."""


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
        OSError: when a process died or the disk is full; where the disk still takes it, that state is saved too.
    """
    progress = Progress(run, checkpoint, phases, config.save_seconds, tracker)
    trainer = _Trainer(run, phases, config, evaluate, tracker, progress)
    if resume:
        progress.resume()
    else:
        progress.begin()
    try:
        with interruptible() as stop:
            trainer.run_phases(stop)
            progress.note()
            progress.save()
            if stop():
                raise Interrupted
        # Nothing is left to save: from here on an interrupt ends the run at once, and resumed it finishes.
        try:
            finish()
        except KeyboardInterrupt:
            raise Interrupted from None
        progress.finished = True
        progress.save()
    finally:
        for phase in phases:
            phase.close()


@dataclass
class _Trainer:
    """Runs what is left of the phases, evaluates and logs."""

    run: Run
    phases: list[Phase]
    config: TrainingConfig
    evaluate: Evaluate
    tracker: Tracker
    progress: Progress

    def run_phases(self, stop: Callable[[], bool]) -> None:
        for index in range(self.progress.index, len(self.phases)):
            self.progress.index = index
            self._run_phase(self.phases[index], stop)
            self.progress.end_phase()

    def _run_phase(self, phase: Phase, stop: Callable[[], bool]) -> None:
        def advance(units: int) -> None:
            bar.update(units)
            if stop():
                raise Interrupted

        title = f"{phase.name} ({self.progress.index + 1}/{len(self.phases)})"
        with progress_bar(title, phase.total, phase.done, phase.unit) as bar:
            while phase.done < phase.total:
                metrics = self._run_episode(phase, advance)
                self.tracker.log({f"{phase.name}/{name}": value for name, value in metrics.items()}, self.progress.step)
                shown = {n: v for n, v in metrics.items() if "return" in n or n == "cloning_loss"}
                bar.set_postfix_str(summarize(shown))
                if self.progress.take_evaluation(self.config.evaluations):
                    self._evaluate(phase)
                self.progress.note()
                self.progress.save_sometimes()
                if stop():
                    self.progress.save()
                    raise Interrupted

    def _run_episode(self, phase: Phase, advance: Advance) -> Metrics:
        try:
            metrics = phase.run_episode(advance)
        except (Interrupted, KeyboardInterrupt):  # the first Ctrl-C, and one that came after it
            self.progress.save()
            raise Interrupted from None
        except OSError:  # a process died, a disk is full
            with suppress(OSError):
                self.progress.save()
            raise
        # What is on disk is still whole, and stays so.
        if broken := [name for name, value in metrics.items() if not np.isfinite(value)]:
            raise ValueError(
                f"training went wrong in {phase.name} at {phase.done} of {phase.total} {phase.unit}: "
                f"{', '.join(broken)} is no number; smaller steps may help"
            )
        return metrics

    def _evaluate(self, phase: Phase) -> None:
        video, step = None, self.progress.step
        if phase.trains_agent:
            self.run.videos.mkdir(parents=True, exist_ok=True)
            video = self.run.videos / f"step_{step}.mp4"
        metrics = self.evaluate(phase.act, self.config.evaluation_episodes, video)
        phase.note_evaluation(metrics["return_mean"])
        self.tracker.log({f"{phase.name}/evaluation_{name}": value for name, value in metrics.items()}, step)
        if video is not None and video.is_file():
            self.tracker.log_video(f"{phase.name}/evaluation_video", video, step)
        say(f"{phase.name} at {phase.done} of {phase.total} {phase.unit}: {summarize(metrics)}")
