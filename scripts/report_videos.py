"""Which videos a report holds, when it can not hold them all."""

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from report_rows import Meeting
from results_folder import FROZEN, Cell


@dataclass(frozen=True)
class Choice:
    """Videos to embed, by the id of their cell, and the cells whose videos are left out for their size."""

    kept: dict[str, Path]
    left_out: tuple[Cell, ...]


def filmed(met: Sequence[Meeting]) -> list[Meeting]:
    """One meeting for each agent and shift: of the seed that comes first, and with a video if any seed has one."""
    groups: dict[str, list[Meeting]] = {}
    for meeting in met:
        groups.setdefault(next(iter(meeting.values())).key("policy", "adaptation", "seed"), []).append(meeting)
    return [
        max(group, key=lambda meeting: sum(cell.video is not None for cell in meeting.values()))
        for group in groups.values()
    ]


def choose_videos(met: Sequence[Meeting], limit: int) -> Choice:
    """Leave out videos until the rest takes at most `limit` bytes in the report.

    The first to go are those that show least: where the policy's return in the filmed episode is nearest to the frozen
    policy's. A frozen video stays as long as one that it can be compared with.
    """
    films = {cell.id: cell for meeting in met for cell in meeting.values() if cell.video is not None}
    kept = {name: cell.video for name, cell in films.items() if cell.video is not None}
    sizes = {name: embedded_size(path) for name, path in kept.items()}
    while kept and sum(sizes[name] for name in kept) > limit:
        shown = [(information(meeting, policy, kept), policy == FROZEN, meeting[policy].id)
                 for meeting in met for policy in meeting if meeting[policy].id in kept]  # fmt: skip
        del kept[min(shown)[-1]]
    return Choice(kept, tuple(cell for name, cell in films.items() if name not in kept))


def information(meeting: Meeting, policy: str, kept: Collection[str]) -> float:
    """How far apart the returns of the filmed episode are; below 0 for a frozen video that nothing is beside."""
    if FROZEN not in meeting:
        return 0.0
    others = [policy] if policy != FROZEN else [name for name in meeting if name != FROZEN and meeting[name].id in kept]
    base = meeting[FROZEN].returns[0]
    return max((abs(meeting[other].returns[0] - base) for other in others), default=-1.0)


def embedded_size(path: Path) -> int:
    """Bytes that a file takes as base64, with its elements."""
    return 4 * ((path.stat().st_size + 2) // 3) + 500


def embed(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
