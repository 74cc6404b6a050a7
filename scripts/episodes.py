"""Many evaluation episodes, in worker processes, the same whatever their number."""

import atexit
import os
import platform
import traceback
import warnings
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cli
import gymnasium as gym
import joblib
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError
from own import OwnPolicy, load_modules, make_env

import envs
from pad import settings
from pad.agent import Agent
from pad.checkpoint import find_checkpoint, identity, load_checkpoint
from pad.deployment import (
    ADAPTATIONS,
    AdaptationConfig,
    AdaptivePolicy,
    ColorMatchedPolicy,
    FrozenPolicy,
    MeasuredPolicy,
    PerturbedPolicy,
)
from pad.deployment.model import Model
from pad.evaluation import Episode, run_episode
from pad.memory import keep_pages
from pad.seeding import episode_seed
from pad.types import Policy


@dataclass(frozen=True)
class Arm:
    """One policy in one environment, and which episodes it meets."""

    policy: str | OwnPolicy
    """A checkpoint, or a policy of the user's."""
    env: envs.EnvConfig | str
    """A name stands for an environment of the user's."""
    adaptation: AdaptationConfig | None
    """None: frozen."""
    seed: int
    episodes: int
    device: str = "cpu"
    record: int = 0
    """How many of the first episodes keep their pictures."""
    matched: bool = False
    """A frozen policy behind colours that match those of training, in place of adapting: a control."""
    drifts: tuple[tuple[float, ...], ...] | None = None
    """Of each episode of an adapting arm: a frozen policy is moved at random by as much, in place of adapting."""
    modules: tuple[str, ...] = ()
    """Of the user's, which may register environments."""

    @property
    def name(self) -> str:
        """What this policy does beside the others: frozen, adapted, or a control.

        null is moved at random as far as the adapted one, matched sees colours as those of training.
        """
        if self.matched:
            return "matched"
        if self.drifts is not None:
            return "null"
        return "frozen" if self.adaptation is None else "adapted"

    @property
    def scene(self) -> str:
        """What the policy meets: a shift, or an environment of the user's."""
        return self.env if isinstance(self.env, str) else self.env.shift

    @property
    def lifelong(self) -> bool:
        """Whether an episode depends on those before it."""
        return self.name == "adapted" and self.adaptation is not None and self.adaptation.reset == "never"


def run_arms(arms: list[Arm], workers: int) -> Iterator[tuple[int, Episode]]:
    """Every episode of every arm with the arm's index, in order, computed side by side."""
    jobs = [(index, arm, tuple(part)) for index, arm in enumerate(arms) for part in _parts(arm)]
    workers = min(workers, len(jobs))
    if workers == 1:
        done: Generator[tuple[list[Episode], cli.UsersError | None]] = (_run(arm, part) for _, arm, part in jobs)
    else:
        pool = joblib.Parallel(n_jobs=workers, return_as="generator", batch_size=1, pre_dispatch="2*n_jobs")
        done = pool(joblib.delayed(_run)(arm, part) for _, arm, part in jobs)
    try:
        for (index, _, _), (episodes, error) in zip(jobs, done, strict=True):
            for episode in episodes:
                yield index, episode
            if error is not None:
                raise error
    except TerminatedWorkerError as error:
        reason = "a process that runs episodes died; perhaps the machine ran out of memory: try fewer --workers"
        raise ChildProcessError(reason) from error
    finally:
        with warnings.catch_warnings():  # joblib's, of what is cut short: that is told by what cut it short
            warnings.filterwarnings("ignore", r"[0-9]+ tasks", UserWarning)
            done.close()
        close_env()  # a user's may hold a robot


def _parts(arm: Arm) -> list[list[int]]:
    numbers = list(range(arm.episodes))
    return [numbers] if arm.lifelong else [[number] for number in numbers]


def default_workers() -> int:
    """One for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_adaptation(name: str, what: str = "adaptation", besides: tuple[str, ...] = ()) -> AdaptationConfig:
    """The settings of that name, or of the YAML file that it is.

    Raises:
        BadInput: for another name; the message calls it `what`, and also names those that are known `besides`.
    """
    if name in ADAPTATIONS:
        return ADAPTATIONS[name]
    if Path(name).suffix in (".yaml", ".yml"):
        return settings.read_yaml(AdaptationConfig, Path(name))
    raise cli.BadInput(f"unknown {what} {name!r}; known: {', '.join([*besides, *ADAPTATIONS])}, or a YAML file")


def trained_env(name: str, described: Mapping[str, Any]) -> envs.EnvConfig:
    """The environment that the checkpoint of that name describes as the one it was trained in.

    Raises:
        BadInput: when it does not say.
    """
    if not described:
        raise cli.BadInput(f"{name} does not say which environment it was trained in")
    return settings.from_dict(envs.EnvConfig, described, "env")


def hardware(device: str = "cpu") -> str:
    """What a result was measured on, in words."""
    card = f"{torch.cuda.get_device_name(device)}, " if torch.device(device).type == "cuda" else ""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        model = next(
            (line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), model
        )
    software = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{card}{model}, {default_workers()} cores, {platform.system()}, {software}"


def _run(arm: Arm, numbers: tuple[int, ...]) -> tuple[list[Episode], cli.UsersError | None]:
    """Episodes of an arm, and what code of the user's did that ended them."""
    # Two threads beside another busy process are many times slower than one.
    torch.set_num_threads(1)
    keep_pages()
    episodes: list[Episode] = []
    if not (isinstance(arm.env, str) or isinstance(arm.policy, OwnPolicy)):
        _play(arm, numbers, episodes)
        return episodes, None
    try:
        _play(arm, numbers, episodes)
    except Exception as error:  # returned, so that another process that is done loses nothing
        close_env()
        number = numbers[len(episodes)]
        who = arm.policy if isinstance(arm.policy, OwnPolicy) else "the agent"
        where = f"{who} in {arm.scene}, episode {number} of seed {episode_seed(arm.seed, number)}"
        told = str(error) if isinstance(error, cli.UsersError | cli.BadInput) else f"{where}: {error!r}"
        return episodes, cli.UsersError(told, traceback.format_exc())
    return episodes, None


def _play(arm: Arm, numbers: tuple[int, ...], episodes: list[Episode]) -> None:
    load_modules(arm.modules)
    env = open_env(arm.env, film=isinstance(arm.env, str) and min(numbers) < arm.record)
    policy: Policy | None = None if arm.drifts else make_policy(arm)
    for number in numbers:
        record = number < arm.record
        policy = _perturbed(arm, number) if arm.drifts else policy
        shown = MeasuredPolicy(policy) if record and isinstance(policy, FrozenPolicy | AdaptivePolicy) else policy
        episodes.append(run_episode(env, shown, episode_seed(arm.seed, number), record))


def make_policy(arm: Arm) -> FrozenPolicy | AdaptivePolicy | ColorMatchedPolicy:
    policy = trained_policy(arm)
    if arm.matched:
        assert isinstance(policy, Agent)
        return ColorMatchedPolicy(policy)
    if arm.adaptation is None:
        return FrozenPolicy(policy)
    return AdaptivePolicy(policy, arm.adaptation, arm.seed)


def _perturbed(arm: Arm, number: int) -> PerturbedPolicy:
    assert arm.drifts is not None
    assert arm.adaptation is not None
    return PerturbedPolicy(trained_policy(arm), arm.adaptation, arm.drifts[number], number)


def trained_policy(arm: Arm) -> Agent | Model:
    """The agent as it is now: a name may come to mean another folder, and a folder may get other weights."""
    if isinstance(arm.policy, OwnPolicy):
        return _load_own(arm.policy)
    folder = find_checkpoint(arm.policy)
    return _load(folder, identity(folder), arm.device)


@lru_cache(maxsize=2)
def _load(folder: Path, _identity: object, device: str) -> Agent:
    return load_checkpoint(folder, device).agent


@lru_cache(maxsize=1)
def _load_own(policy: OwnPolicy) -> Model:
    return policy.load()


_open_env: tuple[envs.EnvConfig | str, bool, gym.Env] | None = None


def open_env(config: envs.EnvConfig | str, film: bool = False) -> gym.Env:
    """The environment of these settings or of this name; the last one used stays open until the process ends."""
    global _open_env
    if _open_env is None or _open_env[:2] != (config, film):
        close_env()
        _open_env = (config, film, make_scene(config, film))
    return _open_env[2]


@atexit.register
def close_env() -> None:
    """Close the one that is open, if there is one."""
    global _open_env
    if _open_env is not None:
        found, _open_env = _open_env[2], None
        found.close()


def make_scene(config: envs.EnvConfig | str, film: bool = False) -> gym.Env:
    """The environment of these settings, or the user's of this name, which gives pictures if it is to be filmed."""
    return make_env(config, film) if isinstance(config, str) else envs.make(config)
