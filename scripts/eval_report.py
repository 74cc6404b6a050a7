"""What came of an evaluation: tables, what a file keeps of an arm, and films."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import cli
import numpy as np
from episodes import Arm

from pad.evaluation import Episode, compare, steps_per_second
from pad.statistics import Comparison, mean_interval
from pad.tracking import Tracker, say
from pad.video import compose, write_video

Met = dict[str, dict[str, list[Episode]]]
"""For each scene and policy its episodes."""


def what_is_over(arms: list[Arm], episodes: list[list[Episode]]) -> Met:
    """For each scene the episodes that every policy has met; a control only where it has met all of these."""
    found: Met = {}
    for arm, met in zip(arms, episodes, strict=False):
        found.setdefault(arm.scene, {})[arm.name] = met
    wanted = {arm.name for arm in arms} - {"null"}
    over: Met = {}
    for scene, met_by in found.items():
        count = min(len(met_by.get(name, [])) for name in wanted)
        if count:
            over[scene] = {name: met[:count] for name, met in met_by.items() if len(met) >= count}
    return over


def arm_record(episodes: list[Episode]) -> dict[str, Any]:
    return {
        "returns": [episode.episode_return for episode in episodes],
        "seeds": [episode.seed for episode in episodes],
        "updates": [episode.updates for episode in episodes],
        "steps_per_second": round(steps_per_second(episodes), 1),
        "guards": [dict(episode.guards) for episode in episodes],
        "mean_drift": [round(float(np.mean(episode.drift)), 5) if episode.drift else 0.0 for episode in episodes],
    }


def format_guards(by_scene: Met) -> str:
    """How often each guard acted, in an episode on average."""
    lines = []
    for scene, met in by_scene.items():
        episodes = met["adapted"]
        total = sum((episode.guards for episode in episodes), Counter[str]())
        acted = ", ".join(f"{reason} {count / len(episodes):.1f}" for reason, count in total.most_common()) or "none"
        decisions = sum(episode.steps for episode in episodes) / len(episodes)
        lines.append(f"{scene}: guards in an episode of {decisions:.0f} decisions: {acted}")
    return "\n".join(lines)


LEGEND = """Brackets are 95 % intervals over episodes. Regret: what adaptation lost where it lost, over all episodes.
Catastrophes: episodes below half the frozen mean, where that exceeds 50, with the upper end of the rate's interval."""


def decimals(largest: float) -> int:
    """So many that returns, of which this is the largest, show three digits, six at most."""
    return 0 if largest >= 100 or largest == 0 else min(2 - math.floor(math.log10(largest)), 6)


def format_table(by_scene: Met, kind: str = "shift") -> str:
    """Mean returns with 95 % intervals over episodes, and control steps a second."""
    arms = next(iter(by_scene.values()))
    rows = [
        [
            kind,
            "frozen",
            "adapted",
            "adapted - frozen",
            "won/lost/tied",
            "regret",
            "regret of null",
            "catastrophes",
            f"steps/s {'/'.join(arms)}" if len(arms) > 1 else "steps/s",
        ]
    ]
    for scene, met in by_scene.items():
        digits = decimals(max(abs(episode.episode_return) for some in met.values() for episode in some))
        speeds = " / ".join(f"{steps_per_second(episodes):.0f}" for episodes in met.values())
        if "adapted" in met:
            c: Comparison = compare(met["frozen"], met["adapted"])
            returns = [i.format(sign, digits) for i, sign in ((c.frozen, ""), (c.adapted, ""), (c.difference, "+"))]
            null = f"{compare(met['frozen'], met['null']).regret:.{digits}f}" if "null" in met else ""
            counts, regret = f"{c.won}/{c.lost}/{c.tied}", f"{c.regret:.{digits}f}"
            rows.append([scene, *returns, counts, regret, null, c.format_catastrophes(), speeds])
        else:
            frozen = mean_interval([episode.episode_return for episode in met["frozen"]])
            rows.append([scene, frozen.format(digits=digits), "", "", "", "", "", "", speeds])
    used = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in used]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*used, strict=True)
    ]
    table = "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
    return f"{table}\n\n{LEGEND}" if "adapted" in arms else table


def write_videos(folder: Path, by_scene: Met, task: str, tracker: Tracker) -> None:
    """One mp4 for each scene: its first episode."""
    for scene, met in by_scene.items():
        arms = {"frozen": met["frozen"][0]}
        if "adapted" in met:
            arms["adapting"] = met["adapted"][0]
        path = folder / f"{cli.file_name(scene)}.mp4"
        write_video(path, list(compose(arms, f"{task}, {scene}")), fps=20)
        tracker.log_video(f"{scene}/video", path, sum(len(e) for a in by_scene.values() for e in a.values()))
        say(f"wrote {path}")
