"""The numbers of a report as text: one formatting for HTML, Markdown and LaTeX, and plain numbers as CSV."""

import csv
import io
from collections.abc import Sequence

from report_rows import Row

from pad.statistics import Catastrophes, Interval

COLUMNS = {
    "task": "Task",
    "agent": "Agent",
    "shift": "Shift",
    "policy": "Policy",
    "return": "Return",
    "difference": "Adapted − frozen",
    "improvement": "P(improvement)",
    "regret": "Regret",
    "catastrophes": "Catastrophes",
    "outcome": "Won / lost / tied",
    "iqm": "Interquartile mean",
    "deviation": "SD over seeds",
    "seeds": "Seeds",
    "episodes": "Episodes",
}
"""Headings by name."""
WORDS = ("task", "agent", "shift", "policy")
"""Columns that are no numbers."""
NONE = "–"
VERDICTS = {"gain": "gains", "loss": "loses", "level": "level"}


def verdict(difference: Interval) -> str:
    """gain or loss where the interval excludes zero, else level; a single episode decides nothing."""
    if difference.low == difference.high:
        return "level"
    return "gain" if difference.low > 0 else "loss" if difference.high < 0 else "level"


def format_chance(chance: Interval) -> str:
    return f"{chance.mean:.2f} [{chance.low:.2f}, {chance.high:.2f}]"


def format_row(row: Row) -> dict[str, str]:
    """The texts of a row, by the names of `COLUMNS`."""
    c = row.comparison
    texts = {
        **{name: getattr(row, name) for name in WORDS},
        "return": str(row.mean),
        "difference": NONE if c is None else c.difference.format("+"),
        "improvement": NONE if row.improvement is None else format_chance(row.improvement),
        "regret": NONE if c is None else f"{c.regret:.0f}",
        "catastrophes": NONE if c is None else c.format_catastrophes(),
        "outcome": NONE if c is None else f"{c.won} / {c.lost} / {c.tied}",
        "iqm": str(row.interquartile_mean),
        "deviation": NONE if row.deviation is None else f"{row.deviation:.0f}",
        "seeds": str(row.seeds),
        "episodes": str(row.episodes),
    }
    return {name: texts[name] for name in COLUMNS}


def sort_values(row: Row) -> dict[str, float | str]:
    """What a column is sorted by; a number that is missing comes last, below any other."""
    numbers = number_row(row)
    keys = {"return": "mean", "iqm": "interquartile_mean", "outcome": "won", "catastrophes": "catastrophe_rate"}
    found = {name: numbers[keys.get(name, name)] for name in COLUMNS}
    return {name: "" if value is None else value for name, value in found.items()}


def number_row(row: Row) -> dict[str, float | int | str | None]:
    """The numbers of a row, by the columns of the CSV file."""
    c = row.comparison
    return {
        **{name: getattr(row, name) for name in WORDS},
        "seeds": row.seeds,
        "episodes": row.episodes,
        **_ends("mean", row.mean),
        "deviation": row.deviation,
        **_ends("interquartile_mean", row.interquartile_mean),
        **_ends("frozen", c and c.frozen),
        **_ends("difference", c and c.difference),
        **_ends("improvement", row.improvement),
        "won": c and c.won,
        "lost": c and c.lost,
        "tied": c and c.tied,
        "regret": c and c.regret,
        **_catastrophes("", c and c.catastrophes),
        **_catastrophes("frozen_", c and c.frozen_catastrophes),
        "cells": " ".join(cell.id for cell in row.cells),
    }


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _catastrophes(prefix: str, found: Catastrophes | None) -> dict[str, float | None]:
    names = ("catastrophes", "catastrophe_rate", "catastrophe_bound")
    values = (None, None, None) if found is None else (found.count, found.rate, found.bound)
    return {f"{prefix}{name}": value for name, value in zip(names, values, strict=True)}


def make_csv(rows: Sequence[Row]) -> str:
    """Numbers to six digits; empty where there is none."""
    numbers = [number_row(row) for row in rows]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(numbers[0] if numbers else COLUMNS)
    for row in numbers:
        values = (f"{value:.6g}" if isinstance(value, float) else value for value in row.values())
        writer.writerow("" if value is None else value for value in values)
    return text.getvalue()


def make_markdown(rows: Sequence[Row]) -> str:
    lines = [f"| {' | '.join(COLUMNS.values())} |", "|---" * len(COLUMNS) + "|"]
    lines += [f"| {' | '.join(map(escape_markdown, format_row(row).values()))} |" for row in rows]
    return "\n".join(lines) + "\n"


def escape_markdown(text: str) -> str:
    """Text without marks that Markdown would read."""
    for mark in "\\|<>*_`":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def make_latex(rows: Sequence[Row]) -> str:
    """A tabular for the package booktabs."""
    alignment = "".join("l" if name in WORDS else "r" for name in COLUMNS)
    lines = [f"\\begin{{tabular}}{{{alignment}}}", "\\toprule"]
    lines += [" & ".join(map(_escape_latex, COLUMNS.values())) + " \\\\", "\\midrule"]
    lines += [" & ".join(map(_escape_latex, format_row(row).values())) + " \\\\" for row in rows]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "≤": r"$\leq$", "−": "$-$", "–": "--",
    **{mark: f"\\{mark}" for mark in "&%$#_"},
}  # fmt: skip


def _escape_latex(text: str) -> str:
    return "".join(LATEX.get(mark, mark) for mark in " ".join(text.split()))
