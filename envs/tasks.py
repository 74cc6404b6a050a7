"""The tasks by name: the nine of the paper, and every other task of the DeepMind Control Suite."""

import logging
from collections.abc import Mapping
from types import MappingProxyType

from dm_control import suite
from dm_control.rl.control import Environment

PAPER_TASKS: Mapping[str, int] = MappingProxyType(
    {
        "cartpole_swingup": 8,
        "cartpole_balance": 8,
        "walker_walk": 4,
        "walker_stand": 4,
        "ball_in_cup_catch": 4,
        "finger_spin": 2,
        "finger_turn_easy": 2,
        "cheetah_run": 4,
        "reacher_easy": 4,
    }
)
"""The nine tasks of Hansen et al. (2021) and their action repeats."""

TASKS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {f"{domain}_{task}": (domain, task) for domain, task in suite.ALL_TASKS}
)
"""Every task of the suite: `domain_task` to its domain and task."""


def default_action_repeat(task: str) -> int:
    """Simulator steps per decision: the paper's for its tasks, 4 for the others."""
    return PAPER_TASKS.get(task, 4)


def load(task: str) -> Environment:
    """The dm_control environment of a task, without a time limit of its own.

    Raises:
        ValueError: for a name that is no task of the suite.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; known: {', '.join(sorted(TASKS))}")
    domain, name = TASKS[task]
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.ERROR)  # how the suite's models are written is nothing that a user could change
    try:
        # A seed even here: some tasks draw their springs when they are loaded.
        return suite.load(domain, name, task_kwargs={"time_limit": float("inf"), "random": 0})
    finally:
        log.setLevel(level)
