"""Write the tables in the documents from the files that hold their numbers.

    python scripts/results.py results/*.json
    python scripts/results.py --check results/*.json

Evaluations (scripts/eval.py --adapt --output) go to README.md, screenings (scripts/screen.py) to
docs/adaptation.md. A table replaces what stands between a document's markers, so that no number in
it is typed by hand. --check changes nothing and fails where a document says something else.
"""

import json
import sys
from pathlib import Path
from typing import Any

import cli
from screen import format_screening

START, END = "<!-- results: written by scripts/results.py -->", "<!-- end of results -->"


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    records = [read_record(Path(argument)) for argument in arguments if argument != "--check"]
    if not records:
        raise cli.BadInput("results.py --check takes the files that hold the numbers")
    evaluations = [record for record in records if "rows" not in record]
    if evaluations:
        put(Path("README.md"), make_table(evaluations), "--check" in arguments)
    rows = [row for record in records for row in record.get("rows", [])]
    if rows:
        put(Path("docs/adaptation.md"), format_screening(rows), "--check" in arguments)


def put(document: Path, table: str, check: bool) -> None:
    """Put a table between the markers of a document, or check that it stands there.

    Raises:
        BadInput: when the markers are missing, or the document says something else.
    """
    text = document.read_text()
    if START not in text or END not in text:
        raise cli.BadInput(f"{document} has no markers {START} and {END}")
    before, rest = text.split(START, 1)
    fresh = f"{before}{START}\n{table}\n{END}{rest.split(END, 1)[1]}"
    if not check:
        cli.write_text(document, fresh)
    elif fresh != text:
        raise cli.BadInput(f"{document} does not say what the files say; run scripts/results.py without --check")


def make_table(records: list[dict[str, Any]]) -> str:
    """Markdown table of evaluations: one row for each agent, adaptation setting and shift."""
    lines = [
        "| agent | shift | episodes | frozen | adaptation | adapted | adapted − frozen | won / lost / tied |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        settings = record["settings"]
        shifts = record.get("shifts") or {settings["shift"][0]: record}
        for shift, cell in shifts.items():
            comparison = cell["comparison"]
            lines.append(
                f"| {settings['checkpoint']} | {shift} | {settings['episodes']} | "
                f"{interval(comparison['frozen'])} | {settings['adaptation']} | "
                f"{interval(comparison['adapted'])} | {interval(comparison['difference'], '+')} | "
                f"{comparison['won']} / {comparison['lost']} / {comparison['tied']} |"
            )
    return "\n".join(lines)


def read_record(path: Path) -> dict[str, Any]:
    """An evaluation file.

    Raises:
        BadInput: when it is none, or holds no comparison.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no evaluation file {path}")
    try:
        record = json.loads(path.read_text())
        cells = record.get("shifts") or {"": record}
        if "rows" not in record and not all("comparison" in cell for cell in cells.values()):
            raise cli.BadInput(f"{path} holds no comparison: it was written without --adapt")
    except (json.JSONDecodeError, AttributeError) as error:
        raise cli.BadInput(f"{path} is not an evaluation file: {error}") from error
    return record


def interval(values: dict[str, float], sign: str = "") -> str:
    return f"{values['mean']:{sign}.0f} [{values['low']:{sign}.0f}, {values['high']:{sign}.0f}]"


if __name__ == "__main__":
    cli.run(main)
