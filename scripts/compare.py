"""One agent against another, from evaluations on the same episodes: what a change in training brought.

    python scripts/compare.py walker_walk walker_walk_backgrounds
    python scripts/compare.py before.json after.json

Each is an agent that ships, or a file that scripts/eval.py wrote with --output, or the folder of an evaluation.json. A
difference is the second one's return minus the first one's, episode by episode, with its 95 % interval; frozen and,
where both adapted, adapted. Intervals cover episodes, not training seeds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cli
import numpy as np
from eval_report import decimals
from evaluations import conditions, flat_settings, read_evaluation, shifts_of
from published import SHIFTS as HARD

from pad import settings
from pad.checkpoint import ZOO
from pad.statistics import Interval, compare_returns, format_change

ARMS = ("frozen", "adapted")
MEAN = f"mean of {len(HARD)}"


@dataclass(frozen=True)
class Pair:
    """Returns of two agents in the same episodes."""

    base: Interval
    agent: Interval
    difference: Interval
    won: int
    lost: int
    tied: int

    @classmethod
    def of(cls, base: np.ndarray, agent: np.ndarray) -> "Pair":
        c = compare_returns(base, agent)
        return cls(c.frozen, c.adapted, c.difference, c.won, c.lost, c.tied)

    @property
    def digits(self) -> int:
        """Decimals with which it is told."""
        return decimals(max(abs(self.base.mean), abs(self.agent.mean)))


Compared = dict[tuple[str, str], Pair]
"""By shift and arm."""


@dataclass(frozen=True)
class Ablation:
    """A change in training, and two evaluations that differ by it, as `find_evaluation` names them."""

    agent: str
    base: str
    change: str


def main() -> None:
    names = cli.positional(__doc__, "BASE", "AGENT")
    base, agent = map(find_evaluation, names)
    if base == agent:
        raise cli.BadInput(f"{names[0]} and {names[1]} are one and the same evaluation")
    compared = compare_evaluations(base, agent)
    print(format_pair(*titles(*names), compared))
    if any(arm == "adapted" for _, arm in compared) and (differing := differing_adaptation(base, agent)):
        print(f"\nThey adapt in different ways: {', '.join(differing)}.")


def find_evaluation(name: str, folder: Path = Path()) -> dict[str, Any]:
    """The evaluation of an agent that ships, or one below that folder: a file, or the folder of an evaluation.json.

    Raises:
        FileNotFoundError: when there is none, naming the agents that ship.
        BadInput: when what is there is no evaluation.
    """
    shipped = {path.parent.name: path for path in sorted(ZOO.glob("*/evaluation.json"))}
    path = shipped.get(name, folder / name)
    path = path / "evaluation.json" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no evaluation {name!r}: neither a file nor an agent that ships: {', '.join(shipped)}")
    return read_evaluation(path)


def differing_adaptation(base: Mapping[str, Any], agent: Mapping[str, Any]) -> list[str]:
    """In what two evaluations adapt differently, each as `setting: one, other`; nothing where they do not."""
    ways = [flat_settings({"adaptation": r["settings"]["adaptation"], **(r["settings"].get("adapter") or {})})
            for r in (base, agent)]  # fmt: skip
    # Files of another version name fewer or more; the number format is what is fastest on a machine.
    names = [name for name in ways[0] if name in ways[1] and name != "precision"]
    return [f"{name}: {ways[0][name]}, {ways[1][name]}" for name in names if ways[0][name] != ways[1][name]]


def titles(*names: str) -> list[str]:
    """What tells evaluations apart: file names, or the folders of files that are called alike."""
    paths = [Path(name.removesuffix(".json")) for name in names]
    alike = len({path.name for path in paths}) < len(paths)
    return [
        path.resolve().parent.name if path.name == "evaluation" else str(path) if alike else path.name for path in paths
    ]


def compare_evaluations(base: Mapping[str, Any], agent: Mapping[str, Any]) -> Compared:
    """Under each shift that both met, and the mean of the hard ones where both met them all, by episode.

    Raises:
        BadInput: when they did not meet the same episodes.
    """
    one, other = conditions(base), conditions(agent)
    keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    if keys:
        differing = ", ".join(f"{key} is {one.get(key)} and {other.get(key)}" for key in keys)
        raise cli.BadInput(f"these are not the same episodes: {differing}")
    cells = shifts_of(base), shifts_of(agent)
    met = [shift for shift in cells[0] if shift in cells[1]]
    if not met:
        raise cli.BadInput(f"nothing in common: one met {', '.join(cells[0])}, the other {', '.join(cells[1])}")
    rows = [(shift, (shift,)) for shift in met] + ([(MEAN, HARD)] if set(HARD) <= set(met) else [])
    return {(name, arm): Pair.of(*both) for name, shifts in rows for arm, both in _returns(*cells, shifts)}


def _returns(
    base: Mapping[str, Any], agent: Mapping[str, Any], shifts: tuple[str, ...]
) -> Iterator[tuple[str, list[np.ndarray]]]:
    for arm in ARMS:
        if all(arm in cells[shift] for cells in (base, agent) for shift in shifts):
            if any(base[shift][arm].get("seeds") != agent[shift][arm].get("seeds") for shift in shifts):
                raise cli.BadInput(f"these are not the same episodes: the seeds of {arm} differ")
            yield arm, [np.mean([cells[shift][arm]["returns"] for shift in shifts], 0) for cells in (base, agent)]


def format_pair(base: str, agent: str, compared: Compared) -> str:
    """Markdown table of two agents: a row for each shift and arm."""
    lines = [f"| met | policy | {base} | {agent} | difference | won / lost / tied |", "|---|---|---|---|---|---|"]
    for (shift, arm), c in compared.items():
        texts = [c.base.format("", c.digits), c.agent.format("", c.digits), c.difference.format("+", c.digits)]
        lines.append(f"| {shift} | {arm} | {' | '.join(texts)} | {c.won} / {c.lost} / {c.tied} |")
    return "\n".join(lines)


def format_ablations(described: list[dict[str, str]], file: Path) -> str:
    """Markdown table of the pairs that a file describes, a row each; what it names lies below its folder.

    Both frozen in the training environment and under the hard shifts, and as both adapt the mean of these.
    """
    columns = {shift: (shift, "frozen") for shift in ("none", *HARD)} | {f"{MEAN}, adapted": (MEAN, "adapted")}
    lines = [f"| from | to | what changed | {' | '.join(columns)} |", "|---" * (len(columns) + 3) + "|"]
    for number, one in enumerate(described):
        where = f"{file}: ablations[{number}]"
        ablation = settings.from_dict(Ablation, one, where)
        try:
            compared = compare_evaluations(*(find_evaluation(n, file.parent) for n in (ablation.base, ablation.agent)))
        except (cli.BadInput, FileNotFoundError) as error:
            raise cli.BadInput(f"{where}: {error}") from error
        cells = [*titles(ablation.base, ablation.agent), ablation.change]
        pairs = [compared.get(key) for key in columns.values()]
        cells += ["" if pair is None else format_change(pair.base, pair.agent, pair.difference) for pair in pairs]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main)
