"""Write the README's result table from evaluation files.

    python scripts/results.py results/cartpole_swingup.json results/walker_walk.json

Each file comes from scripts/eval.py --adapt --output. The table replaces what stands between the
README's markers, so that no number in it is typed by hand.
"""

import json
import sys
from pathlib import Path
from typing import Any

import cli

START, END = "<!-- results: written by scripts/results.py -->", "<!-- end of results -->"


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    check = "--check" in arguments
    files = [Path(argument) for argument in arguments if not argument.startswith("-")]
    readme = Path("README.md")
    text = readme.read_text()
    if START not in text or END not in text:
        raise cli.BadInput(f"{readme} has no markers {START} and {END}")
    before, rest = text.split(START, 1)
    _, after = rest.split(END, 1)
    fresh = f"{before}{START}\n{make_table(files)}\n{END}{after}"
    if check and fresh != text:
        raise cli.BadInput("README.md does not say what the files say; run scripts/results.py without --check")
    if not check:
        cli.write_text(readme, fresh)


def make_table(files: list[Path]) -> str:
    """Markdown table of all files: one row for each agent, adaptation setting and shift."""
    lines = [
        "| agent | shift | frozen | adaptation | adapted | adapted − frozen | won / lost / tied |",
        "|---|---|---|---|---|---|---|",
    ]
    for path in files:
        record = read_record(path)
        settings = record["settings"]
        shifts = record.get("shifts") or {settings["shift"][0]: record}
        for shift, cell in shifts.items():
            comparison = cell["comparison"]
            lines.append(
                f"| {settings['checkpoint']} | {shift} | {interval(comparison['frozen'])} | {settings['adaptation']} | "
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
        if not all("comparison" in cell for cell in cells.values()):
            raise cli.BadInput(f"{path} holds no comparison: it was written without --adapt")
    except (json.JSONDecodeError, AttributeError) as error:
        raise cli.BadInput(f"{path} is not an evaluation file: {error}") from error
    return record


def interval(values: dict[str, float], sign: str = "") -> str:
    return f"{values['mean']:{sign}.0f} [{values['low']:{sign}.0f}, {values['high']:{sign}.0f}]"


if __name__ == "__main__":
    cli.run(main)
