"""Run a grid of experiments, each cell once, into a folder that scripts/report.py makes a page of.

    python scripts/benchmark.py --config configs/benchmark/quick.yaml
    python scripts/benchmark.py --config configs/benchmark/shifts.yaml --estimate
    python scripts/benchmark.py --config configs/benchmark/shifts.yaml --engine dask --address tcp://head:8786

A benchmark that was stopped goes on where it was: run the same command again. No episode that is finished is played
twice, and what comes out does not depend on the order of cells or the number of workers.
"""

import contextlib
import dataclasses
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import cli
import torch
import tyro
from cells import Cell, Result, code_of, data_of, run_cell, weights_of
from engines import Engine, compute
from episodes import default_workers, make_policy, open_env, read_adaptation, trained_env
from store import Store, locked
from under_way import Progress, count

import envs
from envs.shifts import normalize
from pad import settings
from pad.checkpoint import load_checkpoint
from pad.deployment import ADAPTATIONS, AdaptationConfig
from pad.memory import keep_pages
from pad.precision import resolve
from pad.seeding import episode_seed
from pad.tracking import progress_bar, say

_TRIAL = 40  # decisions that tell how fast a policy is


@dataclass(frozen=True)
class BenchmarkConfig:
    """Run every policy of every checkpoint under every shift, for every seed."""

    name: str = "benchmark"
    """Names the folder of results."""
    checkpoints: tuple[str, ...] = ("cartpole_swingup", "walker_walk", "walker_stand")
    """Runs, checkpoint folders, or names of agents that ship."""
    tasks: tuple[str, ...] = ()
    """Where every checkpoint is tried. Default: each in the task that it was trained in."""
    shifts: tuple[str, ...] = ("none", "color_hard", "video_easy")
    """As --shift of eval.py takes them; scripts/shifts.py list names them all."""
    sequence: tuple[str, ...] = ()
    """In place of shifts: one after the other, met by one policy in one life."""
    policies: tuple[str, ...] = ("frozen", "default")
    """frozen, or settings of an adapting policy: default, light, unguarded, paper, or a YAML file."""
    seeds: tuple[int, ...] = (0,)
    """Which episodes: number k of a seed is the same for every policy."""
    episodes: int = 10
    """Of each cell; with a sequence, of each shift in it."""
    shift_data: str | None = None
    """Folder in the published benchmark's layout, or of videos. Default: our own colours and backgrounds."""
    shift_split: Literal["test", "validation"] = "test"
    quality: envs.Quality | None = None
    """Renderer quality. Default: what the agent was trained on; standard for comparisons with papers."""
    videos: bool = True
    """Keep a film of each cell's first episode."""
    device: str = "cpu"
    output: Path | None = None
    """Folder of results. Default: runs/benchmark/NAME."""
    engine: Engine = "local"
    """Where cells are computed: processes here, a Dask or Ray cluster, or SLURM."""
    address: str | None = None
    """Of the cluster: tcp://host:8786 (Dask), ray://host:10001 or host:6379 (Ray), a partition (SLURM), or local to try
    jobs of SLURM here. Default: Dask or Ray started here."""
    workers: int = field(default_factory=default_workers)
    """Cells that are computed at once."""
    estimate: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Only say how long it would take."""

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.workers < 1:
            raise ValueError(f"episodes and workers must be at least 1, got {self.episodes} and {self.workers}")
        if self.address is not None and self.engine == "local":
            raise ValueError(f"an address is of a cluster: name its engine too, got {self.address}")
        for name in ("checkpoints", "policies", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} must name at least one")
        if not self.shifts and not self.sequence:
            raise ValueError("shifts or a sequence must name at least one shift")
        object.__setattr__(self, "shifts", () if self.sequence else tuple(map(normalize, self.shifts)))
        object.__setattr__(self, "sequence", tuple(map(normalize, self.sequence)))
        for name in ("checkpoints", "tasks", "shifts", "policies", "seeds"):
            named = list(getattr(self, name))
            if repeated := {str(value) for value in named if named.count(value) > 1}:
                raise ValueError(f"{name} names {', '.join(sorted(repeated))} twice")

    @property
    def folder(self) -> Path:
        return self.output or Path("runs") / "benchmark" / self.name


def main() -> None:
    config = read_config(sys.argv[1:])
    cells = make_cells(config)
    if config.estimate:
        plan(config, cells)
        return
    with locked(config.folder):
        store, waiting = plan(config, cells)
        store.describe(config, cli.typed())
        failures = run_all(waiting, config, store)
    if failures:
        raise cli.BadInput(
            f"{len(failures)} cells failed, the first: {failures[0].cell.title}: {failures[0].error}; "
            "run the same command to try them again"
        )
    say(f"done: python scripts/report.py {shlex.quote(str(config.folder))}")


def plan(config: BenchmarkConfig, cells: list[Cell]) -> tuple[Store, list[Cell]]:
    """What is finished and what is not, and how long that takes."""
    store = Store(config.folder)
    waiting = [cell for cell in cells if not store.holds(cell)]
    say(f"{len(cells)} cells, {len(cells) - len(waiting)} of them finished before, in {config.folder}")
    if other := store.supersedes(waiting):
        say(f"{other} of the others stand there with other weights, settings or data, which move to superseded")
    if waiting:
        hours = predict(waiting, measure(waiting, store), config.workers)
        say(f"the others take at least {format_hours(hours)} with {config.workers} at once")
    return store, waiting


def read_config(arguments: list[str]) -> BenchmarkConfig:
    """Flags over the file that --config names, over the defaults."""
    if {"-h", "--help"} & set(arguments):
        print("usage: benchmark.py [--config FILE.yaml] [OPTIONS]\n")
        print("--config FILE.yaml  settings; the flags below go over them\n")
    path, arguments = cli.take_option(arguments, "config")
    config = cli.parse(BenchmarkConfig, arguments, settings.read_yaml(BenchmarkConfig, Path(path)) if path else None)
    if config.sequence and any(argument.split("=")[0] == "--shifts" for argument in arguments):
        raise cli.BadInput(f"a sequence takes the place of shifts: {' '.join(config.sequence)[:60]}... is asked for; "
                           "give --sequence other shifts, or another --config")  # fmt: skip
    return config


def make_cells(config: BenchmarkConfig) -> list[Cell]:
    """Every cell, and what cannot be run is found out now.

    Raises:
        BadInput, ValueError, FileNotFoundError: for what does not exist or does not fit.
    """
    policies = {name: read_policy(name, config.device) for name in config.policies}
    names = [policy_name(name) for name in policies]
    if len(set(names)) < len(names):
        raise cli.BadInput(f"policies must have different names, got {', '.join(names)}")
    cells = []
    for checkpoint in config.checkpoints:
        for base in environments(config, checkpoint):
            shifts = [*config.shifts, *(["sequence"] if config.sequence else [])]
            check_shifts(base, config.shifts or config.sequence)
            for shift in shifts:
                for seed in config.seeds:
                    for name, adaptation in policies.items():
                        cells.append(make_cell(config, checkpoint, base, shift, seed, policy_name(name), adaptation))
    return cells


def make_cell(
    config: BenchmarkConfig,
    checkpoint: str,
    base: envs.EnvConfig,
    shift: str,
    seed: int,
    policy: str,
    adaptation: AdaptationConfig | None,
) -> Cell:
    """One cell; `base` is its environment without a shift."""
    sequence = tuple(shift for shift in config.sequence for _ in range(config.episodes)) if config.sequence else None
    env = base if sequence else dataclasses.replace(base, shift=shift)
    episodes = len(sequence) if sequence else config.episodes
    weights, data, code = weights_of(checkpoint), data_of(config.shift_data), code_of(sequence or (shift,))
    return Cell(
        checkpoint, base.task, shift, policy, seed, episodes, env, adaptation, weights, data, sequence, config.device,
        code,
    )  # fmt: skip


def policy_name(policy: str) -> str:
    """What a policy is called in results: a file's name without its folder."""
    return Path(policy).stem if Path(policy).suffix in (".yaml", ".yml") else policy


def read_policy(name: str, device: str) -> AdaptationConfig | None:
    """Settings of an adapting policy, None for the frozen one."""
    if name == "frozen":
        return None
    found = read_adaptation(name, "policy", besides=("frozen",))
    called = policy_name(name)
    if called == "frozen" or ADAPTATIONS.get(called, found) != found:
        raise cli.BadInput(f"{name} would stand in the results as {called!r}, which is another policy: rename the file")
    return dataclasses.replace(found, precision=resolve(found.precision, cli.check_device(device)))


def environments(config: BenchmarkConfig, checkpoint: str) -> list[envs.EnvConfig]:
    """Where a checkpoint is tried, without a shift."""
    loaded = load_checkpoint(checkpoint)
    trained = trained_env(checkpoint, loaded.env)
    base = dataclasses.replace(
        trained,
        shift="none",
        shift_data=config.shift_data,
        shift_split=config.shift_split,
        quality=config.quality or trained.quality,
    )
    found = []
    for task in config.tasks or (trained.task,):
        # Another task has its own action repeat.
        env = base if task == trained.task else dataclasses.replace(base, task=task, action_repeat=None)
        probe = envs.make(env, "state")
        actions = probe.action_space.shape
        probe.close()
        if actions != (loaded.agent.action_size,):
            raise cli.BadInput(f"{checkpoint} has {loaded.agent.action_size} actions, {task} takes {actions}")
        found.append(env)
    return found


def check_shifts(base: envs.EnvConfig, shifts: Sequence[str]) -> None:
    """Raises what an environment would raise that cannot be made."""
    for shift in dict.fromkeys(shifts):
        env = envs.make(dataclasses.replace(base, shift=shift), "state")
        env.reset(seed=0)
        env.close()


def run_all(cells: Sequence[Cell], config: BenchmarkConfig, store: Store) -> list[Result]:
    """Compute the cells and keep what comes of them; returns those that failed."""
    folder, total = config.folder.resolve(), sum(cell.episodes for cell in cells)
    names = [cell.id for cell in cells]
    jobs, failures = [(cell, cli.typed(), config.videos, folder) for cell in cells], []
    with (
        progress_bar("episodes", total, count(folder, names), "episodes") as bar,
        Progress(bar, folder, names).watching() as progress,
    ):
        for result in compute(run_cell, jobs, config.engine, config.workers, config.address, lost):
            store.put(result)
            if result.error:
                failures.append(result)
                say(f"failed: {result.cell.title}: {result.error}")
            bar.set_postfix_str(result.cell.title, refresh=False)
            progress.finish(result.cell.id, result.cell.episodes)
    return failures


def lost(cell: Cell, *_: Any) -> Result:
    """What comes of a cell whose process died twice."""
    return Result(cell, [], {}, None, "its process died; perhaps the machine ran out of memory", "")


def measure(cells: Sequence[Cell], store: Store) -> dict[tuple[str, str], float]:
    """Decisions a second of each checkpoint's policies: of cells that are finished, else in a short trial.

    A policy that fails is left out: its cells say why.
    """
    speeds: dict[tuple[str, str], float] = {}
    tried = set()
    for cell in cells:
        key = cell.checkpoint, cell.policy
        if key in store.speeds:
            speeds[key] = sum(store.speeds[key]) / len(store.speeds[key])
        elif key not in tried:
            tried.add(key)
            with contextlib.suppress(Exception):
                speeds[key] = _try_out(cell)
    return speeds


def _try_out(cell: Cell) -> float:
    torch.set_num_threads(1)  # as cells are run
    keep_pages()
    shift = next((shift for shift in cell.shifts if shift != "none"), "none")
    env = open_env(dataclasses.replace(cell.env, shift=shift))
    policy = make_policy(cell.arm)
    policy.reset()
    obs, _ = env.reset(seed=episode_seed(cell.seed, 0))
    times = []
    for _ in range(min(_TRIAL, cell.env.decisions)):
        started = time.perf_counter()
        action = policy.act(obs)
        next_obs = env.step(action)[0]
        policy.observe(obs, action, next_obs)
        obs = next_obs
        times.append(time.perf_counter() - started)
    # The first decisions warm up, and a gate takes some to open.
    return len(times[5:]) / max(sum(times[5:]), 1e-9)


def predict(cells: Sequence[Cell], speeds: dict[tuple[str, str], float], workers: int) -> float:
    """Hours, where every worker is as fast as this process was; starting them and making films come on top."""
    known = [cell for cell in cells if (cell.checkpoint, cell.policy) in speeds]
    seconds = sum(cell.decisions / speeds[cell.checkpoint, cell.policy] for cell in known)
    return seconds / min(workers, len(cells)) / 3600


def format_hours(hours: float) -> str:
    """In a unit that fits the size."""
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:.1f} h"


if __name__ == "__main__":
    cli.run(main)
