"""Ctrl-C and SIGTERM as a wish that the training loop looks at where it can stop."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pad.tracking import say


class Interrupted(Exception):
    """The run was asked to stop; leaves `train` only when the state of the last whole episode is on disk."""


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """While open, SIGINT and SIGTERM only raise a flag; a second one ends the process as usual.

    Yields:
        Whether a signal has come.
    """
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
