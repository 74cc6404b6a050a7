"""Train an agent from pixels, with the self-supervised head that lets it adapt after deployment.

python scripts/train.py --config configs/cpu/cartpole_swingup.yaml --seed 1
python scripts/train.py --resume runs/cartpole_swingup_clone_s1
"""

import dataclasses
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import cli
import gymnasium as gym
import numpy as np
import torch
import tyro
import yaml
from calibrate import calibration_seeds
from episodes import hardware

import envs
from pad import settings
from pad.agent import Agent, AgentConfig
from pad.checkpoint import Checkpoint, find_checkpoint, read_about
from pad.deployment.calibrator import calibrate
from pad.evaluation import run_episode
from pad.memory import keep_pages
from pad.precision import resolve
from pad.seeding import episode_seed
from pad.tracking import Tracker, TrackingConfig, say
from pad.training import Interrupted, Phase, Run, TrainingConfig, make_phases, train
from pad.types import Metrics
from pad.video import write_video

EVALUATION_SEED = 2000
"""Not the seed of the reported episodes: the best expert is chosen on these."""
LOCK = "lock"
"""File in a run's folder that keeps a second process out."""


@dataclass(frozen=True)
class TrainConfig:
    """Train an agent. The defaults are the paper's but for env.quality; configs/cpu holds what two cores can afford."""

    seed: int = 1
    """Seed of networks, exploration and episodes."""
    device: str = "cpu"
    threads: int = 1
    """Torch threads. More than one pays only on an idle machine and with large networks."""
    run: str | None = None
    """Folder of the run. Default: runs/<task>_<recipe>_s<seed>."""
    env: envs.EnvConfig = field(default_factory=envs.EnvConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    tracking: Annotated[TrackingConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if self.seed < 0 or self.threads < 1:
            raise ValueError(f"seed must be at least 0 and threads at least 1, got {self.seed} and {self.threads}")
        if self.agent.heads:
            raise ValueError("heads are not trained with an agent: scripts/fit_head.py --heads adds them afterwards")

    @property
    def name(self) -> str:
        return f"{self.env.task}_{self.training.recipe}_s{self.seed}"

    @property
    def deciding(self) -> "TrainConfig":
        """The same settings, but for where, on what and with which log they are trained."""
        return dataclasses.replace(self, run=None, device="cpu", threads=1, tracking=TrackingConfig())

    @property
    def group(self) -> str:
        """The same for all seeds of one configuration, and for no other."""
        alike = settings.to_dict(dataclasses.replace(self.deciding, seed=0))
        digest = hashlib.sha256(json.dumps(alike, sort_keys=True).encode()).hexdigest()
        return f"{self.env.task}_{self.training.recipe}_{digest[:6]}"


def main() -> None:
    arguments, resume = sys.argv[1:], None
    if not {"-h", "--help"} & set(arguments):
        resume, arguments = cli.take_option(arguments, "resume")
    config = read_config(arguments) if resume is None else read_resumed(Path(resume), arguments)
    # Settled once: the format that a run began with is that of its resumption.
    precision = resolve(config.training.precision, cli.check_device(config.device))
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, precision=precision))
    torch.set_num_threads(config.threads)
    keep_pages()
    torch.manual_seed(config.seed)
    run = Run(Path(config.run or f"runs/{config.name}") if resume is None else Path(resume))
    if resume is None:
        check_unused(run.folder)

    def make_env(observation: str) -> gym.Env:
        return envs.make(config.env, observation)  # type: ignore[arg-type]

    # What cannot be made must not leave a folder behind, so the folder comes last.
    pixels = make_env("pixels")
    agent = make_agent(config, pixels)
    with locked(run.folder):
        if resume is None:
            check_unused(run.folder)  # another process may have begun there meanwhile
            cli.write_text(run.folder / "config.yaml", yaml.safe_dump(settings.to_dict(config), sort_keys=False))
        try:
            phases = make_phases(agent, make_env, config.training, config.seed, run.folder)
        except Exception:
            if resume is None:  # nothing has been trained there: the next try may begin anew
                shutil.rmtree(run.folder)
            raise
        start(run, config, agent, pixels, make_env, phases, resume=resume is not None and _has_state(run))


def check_unused(folder: Path) -> None:
    """Raises BadInput when a run is there already."""
    if folder.exists() and any(path.name != LOCK for path in folder.iterdir()):
        raise cli.BadInput(f"{folder} already holds a run; --resume {folder} goes on with it, --run names another")


def make_agent(config: TrainConfig, pixels: gym.Env) -> Agent:
    """An untrained agent for the environment; only soft actor-critic from pixels needs a critic."""
    shape, actions = pixels.observation_space.shape or (), pixels.action_space.shape or ()
    critic = config.training.recipe == "sac" and config.training.critic == "pixels"
    agent = Agent((shape[0], shape[1], shape[2]), actions[0], config.agent, critic=critic)
    return agent.to(cli.check_device(config.device))


def read_config(arguments: list[str]) -> TrainConfig:
    """Flags over the file that --config names, over the defaults."""
    if {"-h", "--help"} & set(arguments):
        print("usage: train.py [--config FILE.yaml] [--resume RUN] [OPTIONS]\n")
        print("--config FILE.yaml  settings; the flags below go over them")
        print("--resume RUN        go on with a run from its last checkpoint\n")
    path, arguments = cli.take_option(arguments, "config")
    return cli.parse(TrainConfig, arguments, settings.read_yaml(TrainConfig, Path(path)) if path else None)


def read_resumed(folder: Path, arguments: list[str]) -> TrainConfig:
    """The settings of a run; only tracking, device and threads may be changed.

    Raises:
        BadInput: when there is no run, or a flag would change what it computes.
    """
    if not (folder / "config.yaml").is_file():
        raise cli.BadInput(f"no run at {str(folder)!r}: it has no config.yaml")
    saved = settings.read_yaml(TrainConfig, folder / "config.yaml")
    config = cli.parse(TrainConfig, arguments, saved)
    free = {"tracking": saved.tracking, "device": saved.device, "threads": saved.threads}
    if dataclasses.replace(config, **free) != saved:  # type: ignore[arg-type]
        raise cli.BadInput("a resumed run keeps its settings; only tracking, --device and --threads may be given")
    return config


def start(
    run: Run,
    config: TrainConfig,
    agent: Agent,
    pixels: gym.Env,
    make_env: Callable[[str], gym.Env],
    phases: list[Phase],
    resume: bool,
) -> None:
    """Train; an interrupt saves and leaves with a line that says how to go on."""
    machines = [*(_machines(run) if resume else ()), hardware(config.device)]
    about = {"recipe": config.training.recipe, "seed": config.seed, "hardware": "; then ".join(dict.fromkeys(machines))}
    checkpoint = Checkpoint(agent, settings.to_dict(config.env), about)

    def calibrated() -> None:
        if agent.inverse_dynamics is not None and agent.calibration is None:
            say("measuring the self-supervised loss in the training environment, for the gate")
            agent.calibration = calibrate(agent, pixels, calibration_seeds())

    with Tracker(run.folder, config.tracking, config.name, config.group, settings.to_dict(config)) as tracker:
        say(f"{run.folder}: {config.name}, {sum(p.numel() for p in agent.parameters()):,} parameters")
        try:
            evaluate = make_evaluate(pixels, make_env)
            train(run, checkpoint, phases, config.training, evaluate, tracker, resume, finish=calibrated)
        except Interrupted:
            say(f"saved; go on with: python scripts/train.py --resume {run.folder}")
            sys.exit(130)
    say(f"done: python scripts/eval.py --checkpoint {run.folder} --adapt --shift color_hard")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps a second process out of a run.

    Raises:
        BadInput: when one is already training there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # not a POSIX system
        except OSError as error:
            raise cli.BadInput(f"another process is training in {folder}") from error
        yield


def _machines(run: Run) -> list[str]:
    """What a run has been trained on so far."""
    try:
        return str(read_about(find_checkpoint(run.checkpoint)).get("hardware", "")).split("; then ")
    except FileNotFoundError:
        return []


def _has_state(run: Run) -> bool:
    """Whether a run got as far as its first checkpoint; one that did not begins anew."""
    try:
        find_checkpoint(run.checkpoint)
    except FileNotFoundError:
        return False
    return True


@dataclass(frozen=True)
class _Acting:
    """A policy that acts and learns nothing, whatever its observations are."""

    act: Callable[[np.ndarray], np.ndarray]

    def reset(self) -> None:
        pass

    def observe(self, obs: np.ndarray, action: np.ndarray, next_obs: np.ndarray) -> Metrics:
        return {}


def make_evaluate(pixels: gym.Env, make_env: Callable[[str], gym.Env]) -> Any:
    """Evaluation of whatever a phase trains: a policy on pixels, with a video, or on state."""
    state = make_env("state")

    def evaluate(act: Callable[[np.ndarray], np.ndarray], episodes: int, video: Path | None) -> Metrics:
        env, policy = state if video is None else pixels, _Acting(act)
        met = [
            run_episode(env, policy, episode_seed(EVALUATION_SEED, number), record=video is not None and number == 0)
            for number in range(episodes)
        ]
        if video is not None:
            write_video(video, met[0].frames, env.metadata["render_fps"])
        returns = [episode.episode_return for episode in met]
        return {"return_mean": float(np.mean(returns)), "return_min": float(np.min(returns))}

    return evaluate


if __name__ == "__main__":
    cli.run(main)
