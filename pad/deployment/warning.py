"""Warnings that name the line of the user's, and come once."""

import os
import sys
import warnings
from pathlib import Path

import torch

LIBRARIES = (str(Path(__file__).parents[1]) + os.sep, str(Path(torch.__file__).parent) + os.sep)
"""Where no line is the user's."""


class WarnOnce:
    """Warns of each kind of thing once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, kind: str, message: str) -> None:
        """Warn, unless that kind was told already; the warning names the caller outside of this package."""
        if kind in self._told:
            return
        self._told.add(kind)
        level, frame = 1, sys._getframe()
        while frame.f_back is not None and frame.f_code.co_filename.startswith(LIBRARIES):
            level, frame = level + 1, frame.f_back
        warnings.warn(message, RuntimeWarning, stacklevel=level)

    def forget(self, kind: str) -> None:
        """It may be told again."""
        self._told.discard(kind)
