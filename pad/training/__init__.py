"""The loop that train.py runs: soft actor-critic from pixels, or cloning of an expert."""

from pad.training.config import TrainingConfig
from pad.training.interruption import Interrupted
from pad.training.loop import train
from pad.training.phase import Phase
from pad.training.progress import Run
from pad.training.recipes import make_phases

__all__ = ["Interrupted", "Phase", "Run", "TrainingConfig", "make_phases", "train"]
