"""Compare adaptation settings on validation shifts, which are other colours and backgrounds than those reported.

    python scripts/screen.py --checkpoints cartpole_swingup walker_walk --output results/screening.json
    python scripts/screen.py --policy my_robot:make_policy --head my_head --env my_robot:make_env my_robot:at_dusk

Every YAML file of configs/adaptation is a candidate, and so are the authors' settings. All meet the
same episodes. What is found here decides the default; what is reported comes from scripts/results.py. What every
candidate has met of an agent and shift is kept in OUTPUT.partial.json: cut short, the same command goes on there
(with code of yours, which may have changed, it begins anew).
"""

import contextlib
import dataclasses
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cli
from cells import code_of, own_code, weights_of
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
from pad.evaluation import compare
from pad.statistics import Interval
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
        if self.env and self.shift != defaults["shift"]:
            raise ValueError("shifts are of our environments, and --env names yours")
        if self.policy is not None and self.checkpoints != defaults["checkpoints"]:
            raise ValueError("checkpoints are agents of this package, and --policy names yours")
        # What a file says counts, not its name: it may say something else tomorrow.
        object.__setattr__(self, "shift", tuple(envs.shifts.normalize(shift) for shift in self.shift))
        check_names(self.policy, self.head, self.env, self.shift)

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
    cli.check_outputs(config.output)
    load_modules(config.modules)
    kept = Kept(config, candidates)
    groups = list(dict.fromkeys((policy, scene) for policy in config.policies for scene in config.scenes))
    known = kept.groups
    cells = [(*group, name) for group in groups if group not in known for name in candidates]
    if known:
        say(f"{cli.partial(config.output)} has {len(known)} of {len(groups)} agents and shifts already")
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
        screen(config, candidates, cells, arms, kept)


class Kept:
    """What a screening has found so far: all candidates of an agent under a shift, or nothing of it.

    It is on disk from the first such group on, and the same screening goes on from there.

    Raises:
        BadInput: when what is there is of another screening, of which nothing is to be lost.
    """

    def __init__(self, config: ScreenConfig, candidates: dict[str, AdaptationConfig | None]) -> None:
        self._config, self._path = config, cli.partial(config.output)
        weights = None if config.policy else {name: weights_of(name) for name in config.checkpoints}
        settled = {name: None if one is None else settings.to_dict(one) for name, one in candidates.items()}
        self._screened = {
            "episodes": config.episodes, "seed": config.seed, "weights": weights, "candidates": settled,
            "code": own_code(), "policy": config.policy, "env": list(config.env),
        }  # fmt: skip
        self._codes = {} if config.env else {shift: code_of((shift,)) for shift in config.shift}
        self.rows: list[dict[str, Any]] = []
        self._others: list[dict[str, Any]] = []
        """Rows of shifts that are not asked for now: they stay in the partial file."""
        self._read()

    def _read(self) -> None:
        try:
            record = json.loads(self._path.read_text())
            screened, codes = record["screened"], record["code_of_shifts"]
            rows = [dict(row) for row in record["rows"]]
        except (OSError, ValueError, KeyError, TypeError):
            return
        ours = json.loads(json.dumps(self._screened))
        differing = [name for name in {**ours, **screened} if ours.get(name) != screened.get(name)]
        differing += [f"code of {shift}" for shift, code in self._codes.items() if codes.get(shift, code) != code]
        if differing:
            raise cli.BadInput(
                f"{self._path} holds an interrupted screening of other settings ({', '.join(differing)}): finish it, "
                "delete it, or name another --output"
            )
        if self._config.policy is not None or self._config.env:  # nobody knows whether code of the user's is the same
            return
        self._codes = {**codes, **self._codes}
        for row in rows:
            (self.rows if row["shift"] in self._config.shift else self._others).append(row)

    @property
    def groups(self) -> set[tuple[str, str]]:
        """Agents and shifts."""
        return {(row["checkpoint"], row["shift"]) for row in self.rows}

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Those of one group."""
        self.rows += rows
        record = {**self._describe(), "screened": self._screened, "code_of_shifts": self._codes, "interrupted": True}
        record["rows"] += self._others
        cli.write_text(self._path, json.dumps(record, indent=1) + "\n")

    def finish(self) -> None:
        """All is there."""
        cli.write_text(self._config.output, json.dumps(self._describe(), indent=1) + "\n")
        if not self._others:
            self._path.unlink(missing_ok=True)
        say(f"wrote {self._config.output}")

    def tell(self) -> None:
        """Where what there is has been kept."""
        if self.rows:
            own = self._config.policy is not None or self._config.env
            say(f"wrote {self._path}; the same command {'begins anew' if own else 'goes on from there'}")

    def _describe(self) -> dict[str, Any]:
        config, order = self._config, [*self._screened["candidates"]]
        places = [(p, s, c) for p in config.policies for s in config.scenes for c in order]
        rows = sorted(self.rows, key=lambda row: places.index((row["checkpoint"], row["shift"], row["candidate"])))
        return {"command": cli.typed(), "hardware": hardware(), "episodes": config.episodes, "seed": config.seed,
                "split": None if config.env else "validation", "rows": rows}  # fmt: skip


def screen(
    config: ScreenConfig,
    candidates: dict[str, AdaptationConfig | None],
    cells: list[tuple[str, str, str]],
    arms: list[Arm],
    kept: Kept,
) -> None:
    """Every episode, and the table of those agents and shifts that all candidates have met."""
    met: dict[tuple[str, str, str], list[Any]] = {cell: [] for cell in cells}
    ended: BaseException | None = None
    with progress_bar("screening", config.episodes * len(arms), 0, "episodes") as bar:
        try:
            for index, episode in run_arms(arms, config.workers) if arms else ():
                cell = cells[index]
                met[cell].append(episode)
                group = {one: found for one, found in met.items() if one[:2] == cell[:2]}
                if all(len(found) == config.episodes for found in group.values()):
                    kept.add(make_rows(group, candidates))
                bar.set_postfix_str(" ".join(cell))
                bar.update(1)
        except (KeyboardInterrupt, cli.UsersError) as error:
            ended = error
    if kept.rows:
        print(format_screening(kept.rows))
    if ended is not None:
        kept.tell()
        raise ended
    kept.finish()


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
