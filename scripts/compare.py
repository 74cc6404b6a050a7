"""One agent against another, from evaluations on the same episodes: what a change in training brought.

    python scripts/compare.py walker_walk walker_walk_backgrounds
    python scripts/compare.py before.json after.json

Each is an agent that ships, or a file that scripts/eval.py wrote with --output. A difference is the second one's return
minus the first one's, episode by episode, with its 95 % interval; frozen and, where both adapted, adapting. Intervals
cover episodes, not training seeds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cli
import numpy as np
from evaluations import read_evaluation, shifts_of
from published import SHIFTS as HARD

from pad import settings
from pad.checkpoint import ZOO
from pad.evaluation import Comparison, compare_returns

ARMS = ("frozen", "adapted")
MEAN = f"mean of {len(HARD)}"
SAME = ("task", "action_repeat", "episode_length", "quality", "shift_data", "shift_split", "seed", "episodes")
"""What makes episodes the same, beside the shift."""
Compared = dict[tuple[str, str], Comparison]
"""By shift and arm both agents: the first one where a comparison says frozen, the second where it says adapted."""


@dataclass(frozen=True)
class Ablation:
    """A change in training, and two evaluations that differ by it, as `find_evaluation` names them."""

    agent: str
    base: str
    change: str


def main() -> None:
    base, agent = cli.positional(__doc__, "BASE", "AGENT")
    compared = compare_evaluations(find_evaluation(base), find_evaluation(agent))
    print(format_pair(_title(base), _title(agent), compared))


def find_evaluation(name: str, folder: Path = Path()) -> dict[str, Any]:
    """The evaluation of an agent that ships, or one in a file below that folder."""
    shipped = ZOO / name / "evaluation.json"
    return read_evaluation(shipped if shipped.is_file() else folder / name)


def _title(name: str) -> str:
    return Path(name).stem


def compare_evaluations(base: Mapping[str, Any], agent: Mapping[str, Any]) -> Compared:
    """Under each shift that both met, and the mean of the hard ones where both met them all, by episode.

    Raises:
        BadInput: when they did not meet the same episodes.
    """
    differing = [(key, a, b) for key, a, b in zip(SAME, _conditions(base), _conditions(agent), strict=True) if a != b]
    for key, one, other in differing:
        raise cli.BadInput(f"these are not the same episodes: {key} is {one} in one and {other} in the other")
    cells = shifts_of(base), shifts_of(agent)
    met = [shift for shift in cells[0] if shift in cells[1]]
    if not met:
        raise cli.BadInput(f"no shift in common: one met {', '.join(cells[0])}, the other {', '.join(cells[1])}")
    rows = [(shift, (shift,)) for shift in met] + ([(MEAN, HARD)] if set(HARD) <= set(met) else [])
    return {(name, arm): compare_returns(*both) for name, shifts in rows for arm, both in _returns(*cells, shifts)}


def _conditions(record: Mapping[str, Any]) -> list[Any]:
    chosen = record["settings"]
    known = {**record["env"], **{key: chosen[key] for key in SAME if chosen.get(key) is not None}}
    return [known.get(key) for key in SAME]


def _returns(
    base: Mapping[str, Any], agent: Mapping[str, Any], shifts: tuple[str, ...]
) -> Iterator[tuple[str, list[np.ndarray]]]:
    for arm in ARMS:
        if all(arm in cells[shift] for cells in (base, agent) for shift in shifts):
            yield arm, [np.mean([cells[shift][arm]["returns"] for shift in shifts], 0) for cells in (base, agent)]


def format_pair(base: str, agent: str, compared: Compared) -> str:
    """Markdown table of two agents: a row for each shift and arm."""
    lines = [f"| shift | policy | {base} | {agent} | difference | won / lost / tied |", "|---|---|---|---|---|---|"]
    for (shift, arm), c in compared.items():
        difference = c.difference.format("+")
        lines.append(f"| {shift} | {arm} | {c.frozen} | {c.adapted} | {difference} | {c.won} / {c.lost} / {c.tied} |")
    return "\n".join(lines)


def format_ablations(described: list[dict[str, str]], folder: Path) -> str:
    """Markdown table of many pairs whose files lie below a folder: a row each.

    Both frozen in the training environment and under the hard shifts, and as both adapt the mean of these.
    """
    ablations = [settings.from_dict(Ablation, one, f"ablations[{number}]") for number, one in enumerate(described)]
    pairs = [[find_evaluation(name, folder) for name in (a.base, a.agent)] for a in ablations]
    found = [compare_evaluations(*pair) for pair in pairs]
    columns = {shift: (shift, "frozen") for shift in ("none", *HARD)} | {f"{MEAN}, adapting": (MEAN, "adapted")}
    lines = [f"| from | to | what changed | {' | '.join(columns)} |", "|---" * (len(columns) + 3) + "|"]
    for ablation, compared in zip(ablations, found, strict=True):
        texts = [_format_change(compared.get(key)) for key in columns.values()]
        lines.append(
            f"| {_title(ablation.base)} | {_title(ablation.agent)} | {ablation.change} | {' | '.join(texts)} |"
        )
    return "\n".join(lines)


def _format_change(c: Comparison | None) -> str:
    return "" if c is None else f"{c.frozen.mean:.0f} → {c.adapted.mean:.0f} ({c.difference.format('+')})"


if __name__ == "__main__":
    cli.run(main)
