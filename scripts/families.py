"""Agents that saw other things while they were trained have means of their own."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

BACKGROUNDS = "_backgrounds"
"""In the name of an agent that was cloned with random backgrounds (configs/backgrounds)."""
T = TypeVar("T")


def family(agent: str) -> str:
    """What sets an agent's training apart, in words; nothing for those of configs/cpu."""
    return "trained with random backgrounds" if BACKGROUNDS in Path(agent).name else ""


def by_family(items: Iterable[T], agent_of: Callable[[T], str]) -> dict[str, list[T]]:
    """Items of each family in their order, those of configs/cpu first."""
    found: dict[str, list[T]] = {}
    for item in items:
        found.setdefault(family(agent_of(item)), []).append(item)
    return dict(sorted(found.items()))
