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
from pathlib import Path
from typing import Any

import cli
from compare import format_ablations
from evaluations import check_evaluation, is_as_named, read_record, shifts_of
from families import by_family
from gains import format_gains, format_learning
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
from pad.evaluation import Comparison

MARKER = "<!-- results"
START, END = f"{MARKER}: written by scripts/results.py -->", "<!-- end of results -->"
START_ABLATIONS = f"{MARKER} of ablations: written by scripts/results.py -->"
START_PUBLISHED = f"{MARKER} on published data: written by scripts/results.py -->"
OTHERS = {"rows", "blocks", "points", "ablations"}
"""A file that holds one of these is no evaluation."""
Compared = dict[tuple[str, str], tuple[str, Comparison]]
"""By agent and shift the task, and how both arms did."""


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    paths = [Path(argument) for argument in arguments if argument != "--check"]
    if not paths:
        raise cli.BadInput("results.py --check takes the files that hold the numbers")
    folders, files = [p for p in paths if p.is_dir()], [(p, read_numbers(p)) for p in paths if not p.is_dir()]
    records = [record for _, record in files]
    if folders:
        results = [read_results(folder) for folder in folders]
        comparable = list(map(comparable_cells, results))
        put(Path("docs/benchmark.md"), "\n\n".join(map(make_overview, results)), "--check" in arguments)
        if any(comparable):
            shown = [make_tables(folder) for folder, cells in zip(results, comparable, strict=True) if cells]
            put(Path("README.md"), "\n\n".join(shown), "--check" in arguments, START_PUBLISHED)
            table = compare_with_published({key: cell for cells in comparable for key, cell in cells.items()})
            put(Path("docs/results.md"), table, "--check" in arguments, START_PUBLISHED)
    deployed = [
        form(record)
        for key, form in (("blocks", format_latency), ("points", format_soak), ("head", format_sb3))
        for record in records
        if key in record
    ]
    if deployed:
        put(Path("docs/deploy.md"), "\n\n".join(deployed), "--check" in arguments)
    evaluations = [record for record in records if not OTHERS & set(record)]
    if evaluations:
        default = [record for record in evaluations if record["settings"]["adaptation"] == "default"]
        if not default:
            raise cli.BadInput(
                "none of these evaluations is of the default setting: name pad/zoo/*/evaluation.json too"
            )
        families = by_family(default, lambda record: record["settings"]["checkpoint"])
        gains = [format_gains(records, name) for name, records in families.items()]
        put(Path("README.md"), "\n\n".join(gains), "--check" in arguments)
        tables = (compare_with_published(evaluated_cells(default)), *gains, make_summary(default),
                  format_learning(default), make_table(evaluations))  # fmt: skip
        put(Path("docs/results.md"), "\n\n".join(tables), "--check" in arguments)
    ablations = [format_ablations(record["ablations"], path.parent) for path, record in files if "ablations" in record]
    if ablations:
        put(Path("docs/zoo.md"), "\n\n".join(ablations), "--check" in arguments, START_ABLATIONS)
    agents = [path.parent for path in paths if path.is_file() and path.resolve().parent.parent == ZOO.resolve()]
    if agents:
        put(Path("docs/zoo.md"), format_training(agents), "--check" in arguments)
    for path, record in files:
        if "candidate" in record.get("rows", [{}])[0]:  # a place each: they met different episodes
            start = f"{MARKER} of {path.stem}: written by scripts/results.py -->"
            put(Path("docs/adaptation.md"), format_screened(record), "--check" in arguments, start)
    measured = [record for record in records if "ours_ms" in record.get("rows", [{}])[0]]
    if measured:  # a table for each machine
        put(Path("docs/speed.md"), "\n\n".join(map(format_measured, measured)), "--check" in arguments)


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


def put(document: Path, table: str, check: bool, start: str = START) -> None:
    """Put a table between the markers of a document, or check that it stands there.

    Raises:
        BadInput: when the markers are missing, or the document says something else.
    """
    text = document.read_text()
    before, found, rest = text.partition(start)
    old, ended, after = rest.partition(END)
    if not found or not ended or MARKER in old:  # the end that was found would be that of a later table
        raise cli.BadInput(f"{document} has no markers {start} and {END}")
    fresh = f"{before}{start}\n{table}\n{END}{after}"
    if not check:
        cli.write_text(document, fresh)
    elif fresh != text:
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
            comparison = cells[agent, shift][1] if (agent, shift) in cells else None
            texts.append("" if comparison is None else (
                f"{comparison.frozen.mean:.0f} → {comparison.adapted.mean:.0f} ({comparison.difference.format('+')})"
            ))  # fmt: skip
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
               "regret", "null regret", "catastrophes"]  # fmt: skip
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
    if not all("comparison" in cell for cell in shifts_of(record).values()):
        raise cli.BadInput(f"{path} holds no comparison: it was written without --adapt")
    return record


if __name__ == "__main__":
    cli.run(main)
