"""Time of two ways to do the same, in turns, and a table of such measurements."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Row:
    """One comparison; times in milliseconds."""

    name: str
    reference_ms: float | None
    ours_ms: float
    ratio: float | None
    """Median over turns of reference by ours; its quartiles are the spread."""
    spread: tuple[float, float] | None
    repeats: int
    note: str = ""


def measure(
    name: str,
    reference: Callable[[], object] | None,
    ours: Callable[[], object],
    seconds: float,
    device: torch.device,
    note: str = "",
) -> Row:
    """Both take turns until the time is over."""
    sides = [ours] if reference is None else [reference, ours]
    for side in sides:  # the first call compiles and fills caches
        timed(side, device)
    times: list[list[float]] = []
    until = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < until:
        times.append([timed(side, device) for side in sides])
    medians = [statistics.median(column) * 1e3 for column in zip(*times, strict=True)]
    if reference is None:
        return Row(name, None, medians[0], None, None, len(times), note)
    ratios = [before / after for before, after in times]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return Row(name, medians[0], medians[1], middle, (low, high), len(times), note)


def timed(call: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def format_rows(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| what | reference, ms | ours, ms | ratio | quartiles | repeats |", "|---|---|---|---|---|---|"]
    for row in rows:
        reference = "" if row.reference_ms is None else f"{row.reference_ms:.3g}"
        ratio = row.note if row.ratio is None else f"{row.ratio:.1f}x"
        spread = "" if row.spread is None else f"{row.spread[0]:.1f} to {row.spread[1]:.1f}"
        lines.append(f"| {row.name} | {reference} | {row.ours_ms:.3g} | {ratio} | {spread} | {row.repeats} |")
    return "\n".join(lines)
