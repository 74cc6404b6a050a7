"""Write the tables in the documents from the files that hold their numbers.

    python scripts/results.py pad/zoo/*/evaluation.json results/*.json results/benchmark/*
    python scripts/results.py --check pad/zoo/*/evaluation.json results/*.json results/benchmark/*

Evaluations (scripts/eval.py --adapt --output) go to docs/results.md, their means to README.md too, how those agents
that ship were trained and what changes in training brought (results/ablations.json) to docs/zoo.md, screenings
(scripts/screen.py) to docs/adaptation.md, measurements (scripts/bench.py) to docs/speed.md, folders of benchmarks
(scripts/benchmark.py) to docs/benchmark.md and, where they are on published data, README.md and docs/results.md; what
scripts/latency.py, soak.py and sb3_example.py measured to docs/deploy.md. A table replaces what stands between the
markers of a document, so that no number in it is typed by hand. --check changes nothing
and fails where one says something else.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cli
from compare import format_ablations
from evaluations import check_compared, check_evaluation, conditions, is_as_named, read_record, shifts_of
from families import by_family
from gains import format_gains, format_learning, format_regret
from gate import format_gates
from latency import Block, LatencyConfig, format_blocks
from published import PUBLISHED, SHIFTS, TASKS, published
from report_overview import make_overview, make_tables
from report_rows import make_rows, name_agents
from results_folder import ResultsFolder, read_results
from screen import format_screening
from timing import Row, format_rows
from zoo import format_training

from pad import settings
from pad.checkpoint import ZOO
from pad.statistics import Comparison, format_change
from pad.tracking import say

MARKER = "<!-- results"
START, END = f"{MARKER}: written by scripts/results.py -->", "<!-- end of results -->"
START_ABLATIONS = f"{MARKER} of ablations: written by scripts/results.py -->"
START_GATES = f"{MARKER} of gates: written by scripts/results.py -->"
START_PUBLISHED = f"{MARKER} on published data: written by scripts/results.py -->"
OTHERS = {"rows", "blocks", "points", "ablations", "gates"}
"""A file that holds one of these is no evaluation."""
Compared = dict[tuple[str, str], tuple[str, Comparison]]
"""By agent and shift the task, and how both arms did."""


@dataclass(frozen=True)
class Table:
    """What stands in one place of a document."""

    document: str
    text: str
    start: str = START


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    paths = [Path(argument) for argument in arguments if argument != "--check"]
    if not paths:
        raise cli.BadInput("results.py --check takes the files that hold the numbers")
    files = {path: read_numbers(path) for path in paths if not path.is_dir()}
    tables = [
        *benchmark_tables([read_results(path) for path in paths if path.is_dir()]),
        *evaluation_tables([record for record in files.values() if not OTHERS & set(record)]),
        *training_tables(files),
        *screening_tables(files),
        *gate_tables(files),
        *measurement_tables(list(files.values())),
    ]
    put(tables, "--check" in arguments)


def benchmark_tables(folders: list[ResultsFolder]) -> list[Table]:
    """Of folders of scripts/benchmark.py."""
    if not folders:
        return []
    tables = [Table("docs/benchmark.md", "\n\n".join(map(make_overview, folders)))]
    comparable = list(map(comparable_cells, folders))
    if any(comparable):
        shown = [make_tables(folder) for folder, cells in zip(folders, comparable, strict=True) if cells]
        beside = compare_with_published({key: cell for cells in comparable for key, cell in cells.items()})
        tables.append(Table("README.md", "\n\n".join(shown), START_PUBLISHED))
        tables.append(Table("docs/results.md", beside, START_PUBLISHED))
    return tables


def evaluation_tables(evaluations: list[dict[str, Any]]) -> list[Table]:
    """Of evaluations, those of other settings than the default's among them."""
    if not evaluations:
        return []
    default = [record for record in evaluations if record["settings"]["adaptation"] == "default"]
    if not default:
        raise cli.BadInput("none of these evaluations is of the default setting: name pad/zoo/*/evaluation.json too")
    check_comparable(default)
    families = by_family(default, lambda record: record["settings"]["checkpoint"])
    gains = "\n\n".join(format_gains(records, name) for name, records in families.items())
    parts = {
        "Beside published returns, on our own data": compare_with_published(evaluated_cells(default)),
        "Mean gain": gains,
        "Each agent": make_summary(default),
        "How often each agent learned": format_learning(default),
        "Regret beyond chance": format_regret(default),
        "Every cell": make_table(evaluations),
    }
    whole = "\n\n".join(f"### {title}\n\n{text}" for title, text in parts.items())
    return [Table("README.md", gains), Table("docs/results.md", whole)]


def check_comparable(evaluations: list[dict[str, Any]]) -> None:
    """Whether evaluations may stand in one table.

    Raises:
        BadInput: when an agent is there twice, or two did not meet the same episodes.
    """
    agents = [record["settings"]["checkpoint"] for record in evaluations]
    if twice := sorted({agent for agent in agents if agents.count(agent) > 1}):
        raise cli.BadInput(f"several of these files are evaluations of {', '.join(twice)} with the default settings")
    for key in ("seed", "episodes", "shift_split", "shift_data", "quality"):
        values = {str(conditions(record)[key]) for record in evaluations}
        if len(values) > 1:
            raise cli.BadInput(f"these evaluations are not of the same kind: {key} is {' and '.join(sorted(values))}")


def training_tables(files: Mapping[Path, dict[str, Any]]) -> list[Table]:
    """How the agents were trained whose evaluations these are, and what changes in training brought."""
    agents = [path.parent for path in files if path.resolve().parent.parent == ZOO.resolve()]
    ablations = [format_ablations(record["ablations"], path) for path, record in files.items() if "ablations" in record]
    return [
        *([Table("docs/zoo.md", format_training(agents))] if agents else []),
        *([Table("docs/zoo.md", "\n\n".join(ablations), START_ABLATIONS)] if ablations else []),
    ]


def gate_tables(files: Mapping[Path, dict[str, Any]]) -> list[Table]:
    """Of scripts/gate.py, all files together: they say how the gate stands under each shift."""
    rows = [row for record in files.values() for row in record.get("gates", ())]
    return [Table("docs/adaptation.md", format_gates(rows), START_GATES)] if rows else []


def screening_tables(files: Mapping[Path, dict[str, Any]]) -> list[Table]:
    """Of screenings, a place each: they met different episodes."""
    tables = []
    for path, record in files.items():
        if "candidate" in first_row(record):
            start = f"{MARKER} of {path.stem}: written by scripts/results.py -->"
            if start in Path("docs/adaptation.md").read_text():
                tables.append(Table("docs/adaptation.md", format_screened(record), start))
            else:
                say(f"{path} has no place in docs/adaptation.md, and is left out: it wants a line {start}")
    return tables


def measurement_tables(records: list[dict[str, Any]]) -> list[Table]:
    """Of what was timed, a table for each machine, and of deployment."""
    deployed = [
        form(record)
        for key, form in (("blocks", format_latency), ("points", format_soak), ("head", format_sb3))
        for record in records
        if key in record
    ]
    measured = [format_measured(record) for record in records if "ours_ms" in first_row(record)]
    found = {"docs/deploy.md": deployed, "docs/speed.md": measured}
    return [Table(document, "\n\n".join(texts)) for document, texts in found.items() if texts]


def first_row(record: dict[str, Any]) -> dict[str, Any]:
    """By which rows of one kind are told from those of another."""
    rows = record.get("rows") or [{}]
    return dict(rows[0])


def format_screened(record: dict[str, Any]) -> str:
    """Table of one screening, below the command that made it."""
    return f"`{record['command']}`\n\n{format_screening(record['rows'])}"


def format_measured(record: dict[str, Any]) -> str:
    """Table of one run of scripts/bench.py, below the machine that it ran on."""
    return f"{record['hardware']}:\n\n{format_rows([Row(**row) for row in record['rows']])}"


def format_latency(record: dict[str, Any]) -> str:
    """Table of a measurement of scripts/latency.py."""
    config = settings.from_dict(LatencyConfig, record["settings"], "settings")
    blocks = [[Block(**block) for block in pair] for pair in record["blocks"]]
    return f"**A loop at {config.rate:g} Hz** ({record['hardware']}):\n\n{format_blocks(config, blocks)}"


def format_soak(record: dict[str, Any]) -> str:
    """What a run of scripts/soak.py showed, in a sentence."""
    points, config = record["points"], record["settings"]
    if len(points) < config["points"]:
        raise cli.BadInput(f"a soak of {config['steps']:,} steps was broken off at {len(points)} of its "
                           f"{config['points']} points")  # fmt: skip
    tenth = len(points) // 10
    first, last = points[:tenth], points[-tenth:]
    memory, milliseconds = (
        [sum(point[key] for point in part) / tenth for part in (first, last)] for key in ("rss_mb", "cpu_ms_per_step")
    )
    return (
        f"**{config['steps']:,} steps** without a pause, {100 * config['hostile']:.0f} % of the observations spoiled, "
        f"{sum(point['updates'] for point in points):,} updates ({'' if config['gate'] else 'without a gate, '}one of "
        f"{config['batch_size']} crops every {config['every']} decisions): memory {memory[0]:.0f} MB in the first "
        f"tenth and {memory[1]:.0f} MB in the last, {milliseconds[0]:.2f} and {milliseconds[1]:.2f} ms of processor "
        "time a step "
        f"(by the clock {max(point['ms_per_step'] for point in points):.1f} ms at worst, beside other work, "
        f"averaged over {config['steps'] // len(points):,} steps)."
    )


def format_sb3(record: dict[str, Any]) -> str:
    """Table of scripts/sb3_example.py: paired differences of return by shift and by what adapts."""
    rows = {(row["tint"], row["policy"]): row["comparison"] for row in record["rows"] if "comparison" in row}
    tints, arms = (list(dict.fromkeys(key[index] for key in rows)) for index in (0, 1))
    lines = ["**An agent of Stable-Baselines3**, adapted − frozen (returns of at most 60):", "",
             f"| tint | frozen | {' | '.join(arms)} |", "|---" * (len(arms) + 2) + "|"]  # fmt: skip
    for tint in tints:
        found = [settings.from_dict(Comparison, rows[tint, arm], f"{tint}.comparison") for arm in arms]
        lines.append(f"| {tint} | {found[0].frozen} | " + " | ".join(c.difference.format("+") for c in found) + " |")
    return "\n".join(lines)


def put(tables: list[Table], check: bool) -> None:
    """Put each table between the markers of its document, or check that it stands there; all of them or none.

    Raises:
        BadInput: when markers are missing, or a document says something else.
    """
    fresh: dict[Path, str] = {}
    for table in tables:
        document = Path(table.document)
        text = fresh.get(document) or document.read_text()
        before, found, rest = text.partition(table.start)
        old, ended, after = rest.partition(END)
        if not found or not ended or MARKER in old:  # the end that was found would be that of a later table
            raise cli.BadInput(f"{document} has no markers {table.start} and {END}")
        fresh[document] = f"{before}{table.start}\n{table.text}\n{END}{after}"
    for document, text in fresh.items():
        if not check:
            cli.write_text(document, text)
        elif text != document.read_text():
            raise cli.BadInput(f"{document} does not say what the files say; run scripts/results.py without --check")


def evaluated_cells(records: list[dict[str, Any]]) -> Compared:
    """Of evaluations of one setting."""
    return {
        (record["settings"]["checkpoint"], shift): (
            record["env"]["task"], settings.from_dict(Comparison, cell["comparison"], f"{shift}.comparison")
        )
        for record in records
        for shift, cell in shifts_of(record).items()
    }  # fmt: skip


def comparable_cells(folder: ResultsFolder) -> Compared:
    """Of a benchmark what can stand beside papers: the default setting on published data in dm_control's rendering."""
    cells = [c for c in folder.cells if c.settings["env"]["shift_data"] and c.settings["env"]["quality"] == "standard"]
    rows = make_rows(cells)
    names = name_agents(rows)
    return {
        (names[row.task, row.agent], row.shift): (row.task, row.comparison)
        for row in rows
        if row.policy == "default" and row.comparison is not None and row.shift in SHIFTS and not row.pooled
    }


def make_summary(records: list[dict[str, Any]]) -> str:
    """Markdown table of evaluations of one setting: a row for each agent, a column for each shift."""
    cells = evaluated_cells(records)
    agents, shifts = (list(dict.fromkeys(key[index] for key in cells)) for index in (0, 1))
    lines = [f"| agent | {' | '.join(shifts)} |", "|---" * (len(shifts) + 1) + "|"]
    for agent in agents:
        texts = []
        for shift in shifts:
            c = cells[agent, shift][1] if (agent, shift) in cells else None
            texts.append("" if c is None else format_change(c.frozen, c.adapted, c.difference))
        lines.append(f"| {agent} | {' | '.join(texts)} |")
    return "\n".join(lines)


def compare_with_published(cells: Compared) -> str:
    """Markdown table beside published returns: a row for each task and family that met all shifts, and their means."""
    shifts = [shift for shift in SHIFTS if any(met == shift for _, met in cells)]
    columns = [(shift, who) for shift in shifts for who in ("frozen", "adapted", *PUBLISHED)]
    lines = [f"| task | {' | '.join(f'{shift}, {who}' for shift, who in columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, members in by_family(cells.items(), lambda item: item[0][0]).items():
        for task, row in published_rows(dict(members), shifts, columns).items():
            texts = ["–" if value is None else f"{value:.0f}" for value in row]
            lines.append(f"| {task}{f', {name}' if name else ''} | {' | '.join(texts)} |")
    return "\n".join(lines)


def published_rows(cells: Compared, shifts: list[str], columns: list[tuple[str, str]]) -> dict[str, list[float | None]]:
    """By task that met all shifts its numbers, and their mean where there are several."""
    found: dict[str, list[float | None]] = {}
    for task in TASKS:
        ours = {shift: [c for (_, met), (of, c) in cells.items() if (met, of) == (shift, task)] for shift in shifts}
        if not all(ours.values()):
            continue
        row: list[float | None] = []
        for shift, who in columns:
            if who in PUBLISHED:
                row.append(published(who, shift, task))
            else:
                means = [getattr(comparison, who).mean for comparison in ours[shift]]
                row.append(sum(means) / len(means))
        found[task] = row
    if len(found) > 1:
        whole = [[value for value in column if value is not None] for column in zip(*found.values(), strict=True)]
        found[f"mean of {len(found)}"] = [sum(column) / len(column) if column else None for column in whole]
    return found


def make_table(records: list[dict[str, Any]]) -> str:
    """Markdown table of evaluations: one row for each agent, shift and adaptation setting."""
    columns = ["agent", "shift", "episodes", "frozen", "adaptation", "adapted", "adapted − frozen", "won / lost / tied",
               "regret", "regret, random perturbation", "catastrophes"]  # fmt: skip
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    cells = [(record["settings"], shift, cell) for record in records for shift, cell in shifts_of(record).items()]
    agents = list(dict.fromkeys(chosen["checkpoint"] for chosen, _, _ in cells))
    shifts = list(dict.fromkeys(shift for _, shift, _ in cells))
    # Settings of the same agent under the same shift stand below each other.
    for chosen, shift, cell in sorted(cells, key=lambda c: (agents.index(c[0]["checkpoint"]), shifts.index(c[1]))):
        c = settings.from_dict(Comparison, cell["comparison"], f"{shift}.comparison")
        null = f"{cell['null_comparison']['regret']:.0f}" if "null_comparison" in cell else ""
        lines.append(
            f"| {chosen['checkpoint']} | {shift} | {chosen['episodes']} | {c.frozen} | {chosen['adaptation']} | "
            f"{c.adapted} | {c.difference.format('+')} | {c.won} / {c.lost} / {c.tied} | "
            f"{c.regret:.0f} | {null} | {c.format_catastrophes()} |"
        )
    return "\n".join(lines)


def read_numbers(path: Path) -> dict[str, Any]:
    """What a file holds, of whichever command.

    Raises:
        BadInput: when it is none of these, or an evaluation without a comparison.
    """
    record = read_record(path)
    if OTHERS & set(record):
        return record
    check_evaluation(record, path)
    if record["settings"].get("env"):
        raise cli.BadInput(f"{path} is of environments that are not this package's")
    if not is_as_named(record["settings"]):
        raise cli.BadInput(f"{path} was measured with other settings than {record['settings']['adaptation']} has now")
    check_compared(record, path)
    return record


if __name__ == "__main__":
    cli.run(main)
