"""Compare adaptation settings on validation shifts, which are other colours and backgrounds than those reported.

    python scripts/screen.py --checkpoints cartpole_swingup walker_walk --output results/screening.json
    python scripts/screen.py --policy my_robot:make_policy --head my_head --env my_robot:make_env my_robot:at_dusk

Every YAML file of configs/adaptation is a candidate, and so are the authors' settings. All meet the
same episodes. What is found here decides the default; what is reported comes from scripts/results.py. Cut short, it
keeps the agents and shifts that every candidate has met in OUTPUT.partial.json.
"""

import contextlib
import dataclasses
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cli
from episodes import (
    Arm,
    default_workers,
    hardware,
    make_policy,
    make_scene,
    run_arms,
    trained_env,
    trained_policy,
)
from eval_report import decimals
from own import OwnPolicy, check_env, check_names, check_policy, load_modules, modules_of, own_policy

import envs
from pad import settings
from pad.checkpoint import copied, load_checkpoint
from pad.deployment import ADAPTATIONS, AdaptationConfig
from pad.evaluation import Interval, compare
from pad.tracking import progress_bar, say

MATCHED = "matched_colors"
"""The control that learns nothing."""


@dataclass(frozen=True)
class ScreenConfig:
    """Compare adaptation settings on validation shifts."""

    checkpoints: tuple[str, ...] = ("cartpole_swingup", "walker_walk")
    """Agents to adapt."""
    policy: str | None = None
    """Or a policy of yours: module:function, where the function returns a TorchPolicy. It meets what --env names."""
    head: Path | None = None
    """With --policy: folder of the head that scripts/fit_head.py wrote. Default: the function brings one."""
    env: tuple[str, ...] = ()
    """In place of shifts, environments of yours: module:function, or Gymnasium ids. Keep others to report on."""
    candidates: Path = Path("configs/adaptation")
    """Folder of YAML files, each the settings of one candidate."""
    only: tuple[str, ...] = ()
    """Of that folder these files alone, by name without .yaml: those that an earlier screening left to be confirmed."""
    shift: tuple[str, ...] = ("none", "color_hard", "video_easy")
    episodes: int = 10
    """Episodes for each agent, shift and candidate."""
    seed: int = 1000
    """Which episodes; the reported ones have seed 0."""
    paper: bool = True
    """Run the authors' settings too; they cost most of the time, and --no-paper leaves them out."""
    matched: bool = True
    """Run a control too that learns nothing: colours are given the mean and covariance of those in training. It is for
    agents of this package alone, and --no-matched leaves it out."""
    workers: int = field(default_factory=default_workers)
    output: Path = Path("results/screening.json")

    def __post_init__(self) -> None:
        if min(self.episodes, self.workers, len(self.checkpoints), len(self.shift)) < 1:
            raise ValueError("episodes, workers, checkpoints and shifts must be at least 1")
        defaults = {item.name: item.default for item in dataclasses.fields(self)}
        check_names(self.policy, self.head, self.env, self.shift)
        if self.env and self.shift != defaults["shift"]:
            raise ValueError("shifts are of our environments, and --env names yours")
        if self.policy is not None and self.checkpoints != defaults["checkpoints"]:
            raise ValueError("checkpoints are agents of this package, and --policy names yours")

    @property
    def scenes(self) -> tuple[str, ...]:
        """What the policies meet."""
        return self.env or self.shift

    @property
    def modules(self) -> tuple[str, ...]:
        """The user's."""
        return modules_of((self.policy or "", *self.env))

    @property
    def policies(self) -> tuple[str, ...]:
        """The names of what is adapted."""
        return self.checkpoints if self.policy is None else (self.policy,)


def main() -> None:
    config = cli.parse(ScreenConfig, sys.argv[1:])
    matched = config.matched and config.policy is None
    candidates = read_candidates(config.candidates, config.only, config.paper, matched)
    cells = [(policy, scene, name) for policy in config.policies for scene in config.scenes for name in candidates]
    cli.check_outputs(config.output)
    load_modules(config.modules)
    with contextlib.ExitStack() as stack:  # every episode loads them, and a run may go on meanwhile
        sources: dict[str, str | OwnPolicy] = {}
        if config.policy is not None:
            sources[config.policy], _ = own_policy(config.policy, config.head, adapts=True)
        else:
            for name in config.checkpoints:
                load_checkpoint(name)  # what is wrong with it is told by its name
            sources = {name: str(stack.enter_context(copied(name))) for name in dict.fromkeys(config.checkpoints)}
        arms = [make_arm(config, sources[name], scene, found, candidates[found]) for name, scene, found in cells]
        check(arms)
        screen(config, candidates, cells, arms)


def screen(
    config: ScreenConfig,
    candidates: dict[str, AdaptationConfig | None],
    cells: list[tuple[str, str, str]],
    arms: list[Arm],
) -> None:
    """Every episode, and the table of those agents and shifts that all candidates have met."""
    episodes: list[list[Any]] = [[] for _ in arms]
    ended: BaseException | None = None
    with progress_bar("screening", config.episodes * len(arms), 0, "episodes") as bar:
        try:
            for index, episode in run_arms(arms, config.workers):
                episodes[index].append(episode)
                bar.set_postfix_str(" ".join(cells[index]))
                bar.update(1)
        except (KeyboardInterrupt, cli.UsersError) as error:
            ended = error
    short = {cell[:2] for cell, met in zip(cells, episodes, strict=True) if len(met) < config.episodes}
    met = {cell: found for cell, found in zip(cells, episodes, strict=True) if cell[:2] not in short}
    if met:
        rows = make_rows(met, candidates)
        record = {"command": cli.typed(), "hardware": hardware(), "episodes": config.episodes,
                  "seed": config.seed, "split": None if config.env else "validation", "rows": rows}  # fmt: skip
        print(format_screening(rows))
        output = config.output if ended is None else cli.partial(config.output)
        cli.write_text(output, json.dumps({**record, **({"interrupted": True} if ended else {})}, indent=1) + "\n")
        say(f"wrote {output}")
        if ended is None:
            cli.partial(output).unlink(missing_ok=True)
    if ended is not None:
        raise ended


def make_rows(
    met: dict[tuple[str, str, str], list[Any]], candidates: dict[str, AdaptationConfig | None]
) -> list[dict[str, Any]]:
    """Of the episodes of each agent, shift and candidate: how it differed from frozen."""
    rows = []
    for (checkpoint, shift, name), episodes in met.items():
        if name == "frozen":
            continue
        comparison = compare(met[checkpoint, shift, "frozen"], episodes)
        adaptation = settings.to_dict(candidates[name]) if name != MATCHED else {}
        rows.append({"checkpoint": checkpoint, "shift": shift, "candidate": name, "settings": adaptation,
                     **dataclasses.asdict(comparison)})  # fmt: skip
    return rows


def check(arms: list[Arm]) -> None:
    """Raises what an arm would raise that cannot run, before the first episode of any."""
    for arm in {(arm.policy, arm.env): arm for arm in arms}.values():
        with contextlib.closing(make_scene(arm.env)) as probe:
            if isinstance(arm.env, str):
                obs, action = check_env(arm.env, probe, trained_policy(arm), film=False)
                if isinstance(arm.policy, OwnPolicy):
                    check_policy(arm.policy, trained_policy(arm), obs, action)
    for arm in arms:
        make_policy(arm)


def read_candidates(
    folder: Path, only: tuple[str, ...], paper: bool, matched: bool
) -> dict[str, AdaptationConfig | None]:
    """Frozen, the authors' settings and the control of colours if asked for, and the files of the folder.

    Raises:
        FileNotFoundError: when there is no such folder.
        BadInput: when it lacks one that alone was wanted, or one has the name of a control.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    files = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if unknown := [name for name in only if name not in files]:
        raise cli.BadInput(f"{folder} has no {', '.join(unknown)}; it has: {', '.join(files) or 'no YAML file'}")
    found = {
        name: settings.read_yaml(AdaptationConfig, path) for name, path in files.items() if name in (only or files)
    }
    if taken := {"frozen", "paper", MATCHED} & set(found):
        raise cli.BadInput(f"{folder / min(taken)}.yaml has the name of what candidates are compared with: rename it")
    controls = {MATCHED: None} if matched else {}
    return {"frozen": None, **controls, **({"paper": ADAPTATIONS["paper"]} if paper else {}), **found}


def make_arm(
    config: ScreenConfig, policy: str | OwnPolicy, scene: str, name: str, adaptation: AdaptationConfig | None
) -> Arm:
    env: envs.EnvConfig | str = scene
    if not config.env:
        assert isinstance(policy, str)
        env = trained_env(policy, load_checkpoint(policy).env)
        env = dataclasses.replace(env, shift=scene, shift_data=None, shift_split="validation")
    return Arm(policy, env, adaptation, config.seed, config.episodes, matched=name == MATCHED, modules=config.modules)


def format_screening(rows: list[dict[str, Any]]) -> str:
    """Markdown: each candidate's paired difference from frozen in each cell, best mean first.

    What there is more of, cells or candidates, stands below each other: a table is read more easily long than wide.
    """
    cells = list(dict.fromkeys((row["checkpoint"], row["shift"]) for row in rows))
    found = {(row["candidate"], row["checkpoint"], row["shift"]): row for row in rows}
    means = {
        name: sum(found[(name, *cell)]["difference"]["mean"] for cell in cells) / len(cells)
        for name in dict.fromkeys(row["candidate"] for row in rows)
    }
    candidates = sorted(means, key=lambda name: means[name], reverse=True)
    table = [["adapted - frozen", "*frozen return*", *candidates]]
    digits = 0
    for cell in cells:
        at = [found[(name, *cell)] for name in candidates]
        some = decimals(max(abs(row[what]["mean"]) for row in at for what in ("frozen", "adapted")))
        digits = max(digits, some)
        differences = [Interval(**row["difference"]).format("+", some) for row in at]
        table.append([f"{Path(cell[0]).name}, {cell[1]}", f"{at[0]['frozen']['mean']:.{some}f}", *differences])
    table.append(["mean", "", *(f"{means[name]:+.{digits}f}" for name in candidates)])
    if len(candidates) > len(cells):
        table = [list(column) for column in zip(*table, strict=True)]
    lines = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([lines[0], "|---" * len(table[0]) + "|", *lines[1:]])


if __name__ == "__main__":
    cli.run(main)
