"""The trained agents that ship: how they were made, and how they do.

    python scripts/zoo.py list
    python scripts/zoo.py show walker_walk

Every name is a --checkpoint of the other commands. Returns are those of the agent's own evaluation.json, frozen and
adapted; scripts/reproduce.py makes an agent and its evaluation again.
"""

import json
import sys
from pathlib import Path
from typing import Any

import cli
import yaml
from evaluations import shifts_of

from pad.checkpoint import ZOO, find_checkpoint

SHOWN = ("none", "color_easy", "color_hard", "video_easy", "video_hard")


def main() -> None:
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
    elif arguments == ["list"]:
        print(format_list([describe(folder) for folder in folders()]))
    elif len(arguments) == 2 and arguments[0] == "show":
        print(format_agent(describe(shipped(arguments[1]))))
    else:
        print(__doc__)
        raise cli.BadInput(f"zoo.py takes list, or show and a name; got {' '.join(arguments) or 'nothing'}")


def folders() -> list[Path]:
    """Of all agents that ship, by name."""
    return sorted(path.parent for path in ZOO.glob("*/config.yaml"))


def shipped(name: str) -> Path:
    """The folder of an agent that ships.

    Raises:
        FileNotFoundError: when there is none of that name, naming those that there are.
    """
    folder = ZOO / name
    return folder if (folder / "config.yaml").is_file() else find_checkpoint(ZOO / name)


def describe(folder: Path) -> dict[str, Any]:
    """What the files of an agent say about it."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    evaluation = folder / "evaluation.json"
    found = json.loads(evaluation.read_text()) if evaluation.is_file() else {"settings": {}}
    size = sum(path.stat().st_size for path in folder.iterdir())
    return {"name": folder.name, "task": config["env"]["task"], "size": size, "about": config["about"],
            "evaluation": found["settings"], "shifts": shifts_of(found) if found["settings"] else {}}  # fmt: skip


def format_list(agents: list[dict[str, Any]]) -> str:
    """A table, for people."""
    rows = [["name", "seed", "recipe", "minutes", "MB", *SHOWN]]
    for agent in agents:
        about = agent["about"]
        returns = [format_returns(agent["shifts"].get(shift)) for shift in SHOWN]
        rows.append([agent["name"], str(about["seed"]), about["recipe"], f"{about['training_minutes']:.0f}",
                     f"{agent['size'] / 1e6:.1f}", *returns])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", "returns: frozen > adapted, mean of the episodes in evaluation.json"])


def format_returns(cell: dict[str, Any] | None) -> str:
    """Frozen and adapted; a dash where there is no evaluation."""
    if cell is None:
        return "-"
    comparison = cell["comparison"]
    return f"{comparison['frozen']['mean']:.0f} > {comparison['adapted']['mean']:.0f}"


def format_agent(agent: dict[str, Any]) -> str:
    """All that is known about one."""
    about, evaluation = agent["about"], agent["evaluation"]
    lines = [f"{agent['name']}: {agent['task']}, {agent['size'] / 1e6:.1f} MB"]
    lines += [f"  {key}: {value}" for key, value in about.items()]
    if not agent["shifts"]:
        return "\n".join([*lines, "  not evaluated yet"])
    lines.append(
        f"  evaluation: {evaluation['episodes']} episodes of seed {evaluation['seed']}, {evaluation['adaptation']}"
    )
    for shift, cell in agent["shifts"].items():
        difference = cell["comparison"]["difference"]
        interval = f"[{difference['low']:+.0f}, {difference['high']:+.0f}]"
        lines.append(f"    {shift}: {format_returns(cell)}, adapted - frozen {difference['mean']:+.0f} {interval}")
    return "\n".join(lines)


def format_training(agents: list[Path]) -> str:
    """Markdown table of how agents were trained, from what their folders say; experts by their best evaluation."""
    columns = ["agent", "task", "seed", "expert's decisions", "expert's best return", "clone's gradient steps",
               "clone's last return", "minutes", "hardware"]  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for folder in agents:
        described, training = describe(folder), yaml.safe_load((folder / "training.yaml").read_text())["training"]
        about, curve = described["about"], (folder / "metrics.jsonl").read_text().splitlines()
        row = [folder.name, described["task"], str(about["seed"])]
        if training["recipe"] == "clone":
            expert, clone = (
                [note[key] for note in map(json.loads, curve) if key in note]
                for key in ("expert/evaluation_return_mean", "clone/evaluation_return_mean")
            )
            row += [f"{training['expert']['steps']:,}", f"{max(expert):.0f}",
                    f"{training['clone']['updates']:,}", f"{clone[-1]:.0f}"]  # fmt: skip
        else:
            row += ["–"] * 4
        row += [f"{about['training_minutes']:.0f}", about["hardware"]]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main)
