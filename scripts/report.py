"""Make one HTML file of a benchmark's results, which works from disk without a network, and its table for papers.

python scripts/report.py runs/benchmark
python scripts/report.py runs/benchmark --output report.html --max-megabytes 10

Beside the results it writes table.csv, table.md and table.tex, which say the same.
"""

import base64
import hashlib
import math
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import cli
import jinja2
import report_curves
import report_figures
import report_tables
import report_videos
import tyro
import yaml
from report_figures import Picture
from report_lifelong import Course, make_courses
from report_rows import ALL_SHIFTS, Aggregate, Meeting, Row, by_shift, complete, make_aggregates, make_rows, meetings
from report_words import Paragraph, describe
from results_folder import FROZEN, Cell, ResultsFolder, read_results

from pad.tracking import Tracker, TrackingConfig, say

PARTS = Path(__file__).with_suffix("")
"""Template, style and script of the page."""
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class ReportConfig:
    """Make one HTML file of a benchmark's results, and its table as CSV, Markdown and LaTeX."""

    results: tyro.conf.Positional[Path]
    """Folder that scripts/benchmark.py wrote."""
    output: Path | None = None
    """HTML file. Default: report.html in the results folder."""
    max_megabytes: float = 30
    """Size that the HTML file stays below; videos that show little are left out for it."""
    tracking: Annotated[TrackingConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if not 0 < self.max_megabytes < math.inf:
            raise ValueError(f"max_megabytes must be positive and finite, got {self.max_megabytes:g}")

    @property
    def path(self) -> Path:
        return self.output or self.results / "report.html"


@dataclass(frozen=True)
class Report:
    """All that a page says."""

    folder: ResultsFolder
    rows: list[Row]
    aggregates: list[Aggregate]
    courses: list[Course]
    summary: list[Paragraph]
    figures: dict[str, list[Picture]]
    """By the name of their group."""
    places: dict[str, int]
    """Colour of each policy."""


def main() -> None:
    if not sys.argv[1:]:
        raise cli.BadInput("report.py takes the folder of a benchmark's results; --help says more")
    config = cli.parse(ReportConfig, sys.argv[1:])
    if config.path.is_dir():
        raise IsADirectoryError(f"{config.path} is a folder; name a file")
    report = make_report(read_results(config.results))
    page, choice = render_within(report, int(config.max_megabytes * MEGABYTE))
    cli.write_text(config.path, page)
    write_tables(config.results, report.rows)
    if choice.left_out:
        say(f"left out {len(choice.left_out)} videos to stay below {config.max_megabytes:g} MB; the page names them")
    size = config.path.stat().st_size / MEGABYTE
    if size > config.max_megabytes:
        say(f"{config.path} has {size:.1f} MB without any video, more than the {config.max_megabytes:g} MB allowed")
    track(config, report)
    print("\n".join(f"{paragraph.about}: {' '.join(paragraph.lines)}" for paragraph in report.summary))
    say(f"wrote {config.path} ({size:.1f} MB), and table.csv, table.md and table.tex in {config.results}")


def make_report(folder: ResultsFolder) -> Report:
    """Numbers, sentences and figures of a folder."""
    rows, aggregates, courses = make_rows(folder.cells), make_aggregates(folder.cells), make_courses(folder.cells)
    places = report_figures.color_places([cell.policy for cell in folder.cells])
    met = by_shift(folder.cells)
    gains = report_figures.gains(met[ALL_SHIFTS]) if ALL_SHIFTS in met else {}
    figures = {
        "aggregates": report_figures.draw_aggregates(aggregates, places) if aggregates else [],
        "profiles": report_figures.draw_profiles(by_task(folder.cells), places),
        "gains": report_figures.draw_gains(met, places),
        "courses": [report_figures.draw_course(k, course, places) for k, course in enumerate(courses)],
    }
    return Report(
        folder, rows, aggregates, courses, describe(folder, rows, aggregates, gains, courses), figures, places
    )


def by_task(cells: tuple[Cell, ...]) -> dict[str, list[Meeting]]:
    """Complete meetings under all shifts: of all tasks first, where every policy was measured there, then of each."""
    found = {}
    for task in dict.fromkeys(cell.task for cell in cells):
        of_task = by_shift([cell for cell in cells if cell.task == task])
        if of_task:
            found[task] = next(iter(of_task.values()))
    together = complete([meeting for met in found.values() for meeting in met])
    joined = len({next(iter(meeting.values())).task for meeting in together})
    if joined < 2:
        return found
    return {"all tasks" if joined == len(found) else f"{joined} of {len(found)} tasks": together, **found}


def render_within(report: Report, limit: int) -> tuple[str, report_videos.Choice]:
    """The page with as many videos as fit into `limit` bytes, and which these are."""
    met = report_videos.filmed(meetings([cell for cell in report.folder.cells if cell.sequence is None]))
    nothing = report_videos.choose_videos(met, 0)
    # A page without videos names them all as left out: it is at least as long as any other without its videos.
    room = limit - len(render(report, met, nothing).encode())
    choice = report_videos.choose_videos(met, room)
    return render(report, met, choice), choice


def render(report: Report, met: list[Meeting], choice: report_videos.Choice) -> str:
    """The page as text. Whatever comes from a results folder is escaped, and the page runs no script but its own."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PARTS), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    style, script = ((PARTS / name).read_text() for name in ("style.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.filters["unbroken"] = unbroken
    return environment.get_template("page.html").render(
        report=report,
        columns=shown_columns(report.rows),
        words=report_tables.WORDS,
        tables=report_tables,
        overview=make_overview(report.rows),
        films=[make_film(meeting, report.rows, choice) for meeting in met],
        others=other_cells(report.folder.cells, met),
        left_out=choice.left_out,
        videos={name: report_videos.embed(path) for name, path in choice.kept.items()},
        frozen=FROZEN,
        to_yaml=to_yaml,
        style=style,
        script=script,
        script_hash=digest,
        box=(report_curves.WIDTH, report_curves.HEIGHT),
    )


def shown_columns(rows: list[Row]) -> dict[str, str]:
    """Headings of the table; without the task where agents are named after theirs."""
    alike = all(row.agent == row.task for row in rows)
    return {name: heading for name, heading in report_tables.COLUMNS.items() if not (alike and name == "task")}


def make_overview(rows: list[Row]) -> dict[str, Any]:
    """The first table: a line for each agent and adapting policy, a column for each shift."""
    compared = [row for row in rows if row.comparison is not None]
    lines = dict.fromkeys((row.task, row.agent, row.policy) for row in compared)
    found = {(row.task, row.agent, row.policy, row.shift): row for row in compared}
    shifts = list(dict.fromkeys(row.shift for row in compared))
    return {
        "shifts": shifts,
        "lines": [(*line, [found.get((*line, shift)) for shift in shifts]) for line in lines],
        "policies": len({row.policy for row in compared}),
    }


def make_film(meeting: Meeting, rows: list[Row], choice: report_videos.Choice) -> dict[str, Any]:
    """What one player shows: the first episode of every arm, and the comparisons that it stands for."""
    ids = {cell.id for cell in meeting.values()}
    episodes = {policy: cell.episodes[0] for policy, cell in meeting.items()}
    return {
        "cells": list(meeting.values()),
        "first": next(iter(meeting.values())),
        "rows": [row for row in rows if row.comparison and not row.pooled and ids & {cell.id for cell in row.cells}],
        "episodes": episodes,
        "decisions": max(len(episode.rewards) for episode in episodes.values()),
        "shown": [cell.id for cell in meeting.values() if cell.id in choice.kept],
        "curves": report_curves.make_curves(episodes),
    }


def other_cells(cells: tuple[Cell, ...], met: list[Meeting]) -> list[Cell]:
    """Those that no player shows: other seeds, and lifelong runs."""
    shown = {cell.id for meeting in met for cell in meeting.values()}
    return [cell for cell in cells if cell.id not in shown]


def unbroken(text: str) -> str:
    """Text whose intervals and percentages stay on one line."""
    return re.sub(r"\[[^][]*\]| %", lambda found: found[0].replace(" ", "\u00a0"), text)


def to_yaml(values: dict[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).strip()


def write_tables(folder: Path, rows: list[Row]) -> None:
    cli.write_text(folder / "table.csv", report_tables.make_csv(rows))
    cli.write_text(folder / "table.md", report_tables.make_markdown(rows))
    cli.write_text(folder / "table.tex", report_tables.make_latex(rows))


def track(config: ReportConfig, report: Report) -> None:
    """A run for Weights & Biases with the same numbers: its summary, the table and the figures."""
    plain = re.sub(r"[^\w-]+", "_", report.folder.name)
    name = f"report_{plain}"
    described = {"results": str(config.results), "benchmark": report.folder.settings}
    folder = Path("runs") / "report" / f"{name}_{time.strftime('%Y%m%d-%H%M%S')}_{os.getpid()}"
    with Tracker(folder, config.tracking, name, "report", described) as tracker:
        tracker.log(summary_metrics(report), 0)
        numbers = [report_tables.number_row(row) for row in report.rows]
        if numbers:
            tracker.log_table("table", list(numbers[0]), [list(row.values()) for row in numbers], 0)
        with tempfile.TemporaryDirectory() as temporary:
            for picture in (picture for group in report.figures.values() for picture in group):
                path = Path(temporary) / f"{picture.name}.png"
                path.write_bytes(picture.png)
                tracker.log_image(f"figures/{picture.name}", path, picture.description, 0)


def summary_metrics(report: Report) -> dict[str, float | str]:
    """Aggregates by shift and policy, and the number of cells that were measured and that failed."""
    found: dict[str, float | str] = {
        "cells": float(len(report.folder.cells)),
        "failed": float(len(report.folder.failures)),
    }
    for aggregate in report.aggregates:
        found[f"{aggregate.shift}/{aggregate.policy}_interquartile_mean"] = aggregate.interquartile_mean.mean
        if aggregate.improvement is not None:
            found[f"{aggregate.shift}/{aggregate.policy}_probability_of_improvement"] = aggregate.improvement.mean
    return found


if __name__ == "__main__":
    cli.run(main)
