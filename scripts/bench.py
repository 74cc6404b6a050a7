"""Time against a plain reference, side by side in one run: the ratios are what carries over between machines.

    python scripts/bench.py
    python scripts/bench.py --parts adaptation acting --seconds 5 --output results/bench.json

The reference is the method written plainly (tests/plain.py), which is also what the tests compare results with.
Both take turns, so that a busy machine slows both; a row is the median of each and of their ratio.
"""

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cli
import numpy as np
import torch
from dm_control import suite
from episodes import Arm, default_workers, hardware, run_arms, trained_env
from timing import Row, format_rows, measure

import envs
from pad.agent import Agent, AgentConfig
from pad.deployment import ADAPTATIONS, AdaptationConfig, AdaptivePolicy
from pad.encoder import EncoderConfig
from pad.memory import keep_pages
from pad.precision import Precision, resolve
from pad.replay_buffer import ReplayBuffer
from pad.sac import SAC, SACConfig
from pad.tracking import progress_bar, say
from pad.types import Batch

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))
import plain  # noqa: E402  # the references live with the tests

Part = Literal["adaptation", "training", "environment", "replay", "acting", "episodes", "workers"]
PARTS: tuple[Part, ...] = ("adaptation", "training", "environment", "replay", "acting", "episodes", "workers")
NETWORKS = {
    "paper": AgentConfig(),
    "cpu": AgentConfig(EncoderConfig(strides=(2, 2, 1, 1), shared_layers=4, initialization="orthogonal"), hidden=256),
}
OBS_SHAPE, ACTIONS, CROPS = (9, 100, 100), 6, 32


@dataclass(frozen=True)
class BenchConfig:
    """Measure the speed of everything against plain references."""

    parts: tuple[Part, ...] = PARTS
    """What to measure."""
    seconds: float = 4.0
    """Time for each row, at least; both sides run at least three times."""
    threads: int = 1
    """Torch threads, of both sides."""
    device: str = "cpu"
    output: Path | None = None
    """JSON file for the rows."""

    def __post_init__(self) -> None:
        if not self.parts or self.seconds <= 0 or self.threads < 1:
            raise ValueError(f"parts, seconds and threads must be positive, got {self}")


Case = tuple[str, Callable[[], object] | None, Callable[[], object]]
"""Name, reference and ours."""


def main() -> None:
    config = cli.parse(BenchConfig, sys.argv[1:])
    device = torch.device(cli.check_device(config.device))
    torch.set_num_threads(config.threads)
    keep_pages()
    rows = list(run_parts(config, device))
    print(format_rows(rows))
    print(f"\n{describe(config)}")
    if config.output:
        record = {"command": cli.typed(), "hardware": describe(config),
                  "rows": [dataclasses.asdict(row) for row in rows]}  # fmt: skip
        cli.write_text(config.output, json.dumps(record, indent=1) + "\n")
        say(f"wrote {config.output}")


def describe(config: BenchConfig) -> str:
    """The machine, and what was used of it."""
    faster = "pays" if resolve("auto", config.device) == "bfloat16" else "does not pay"
    return f"{hardware(config.device)}, {config.threads} torch thread(s), bfloat16 {faster} here"


def run_parts(config: BenchConfig, device: torch.device) -> Iterator[Row]:
    cases: dict[Part, Callable[[], Iterator[Case]]] = {
        "adaptation": lambda: adaptation_cases(device),
        "training": lambda: training_cases(device),
        "environment": environment_cases,
        "replay": replay_cases,
        "acting": lambda: acting_cases(device),
    }
    with progress_bar("measuring", len(config.parts), 0, "parts") as bar:
        for part in config.parts:
            bar.set_postfix_str(part)
            if part == "episodes":
                yield from episode_rows(config.device)
                torch.set_num_threads(config.threads)  # episodes run on one
            elif part == "workers":
                yield from worker_rows(config.device)
                torch.set_num_threads(config.threads)
            else:
                for name, reference, ours in cases[part]():
                    bar.set_postfix_str(name)
                    yield measure(name, reference, ours, config.seconds, device)
            bar.update(1)


def make_agent(network: str, device: torch.device, critic: bool = False) -> Agent:
    torch.manual_seed(0)
    return Agent(OBS_SHAPE, ACTIONS, NETWORKS[network], critic=critic).to(device)


def precisions(device: torch.device) -> list[Precision]:
    """Formats worth measuring here."""
    return ["float32", "bfloat16"] if resolve("auto", device.type) == "bfloat16" else ["float32"]


def adaptation_cases(device: torch.device) -> Iterator[Case]:
    """The authors' step (head, branch and shared convolutions move) on one transition under 32 crops."""
    rng = np.random.default_rng(0)
    obs, next_obs = rng.integers(256, size=(2, *OBS_SHAPE), dtype=np.uint8)
    action = rng.uniform(-1, 1, ACTIONS).astype(np.float32)
    for network in NETWORKS:
        agent = make_agent(network, device)
        for grid in ("pixel", "stride"):
            for precision in precisions(device):
                config = dataclasses.replace(ADAPTATIONS["paper"], crop_grid=grid, precision=precision)
                ours = AdaptivePolicy(agent, config)
                name = f"adaptation step, {network} network, {CROPS} crops at every {grid}, {precision}"
                yield (
                    name,
                    plain_adaptation(agent, config, (obs, action, next_obs)),
                    _observe(ours, obs, action, next_obs),
                )


def _observe(policy: AdaptivePolicy, *transition: np.ndarray) -> Callable[[], object]:
    return lambda: policy.observe(*transition)


def plain_adaptation(
    agent: Agent, config: AdaptationConfig, transition: tuple[np.ndarray, ...]
) -> Callable[[], object]:
    """The reference's step on every offset, moving what the setting moves."""
    networks = plain.PlainNetworks(agent)
    names = AdaptivePolicy(agent, config).parameter_names
    moving = [parameter for name, parameter in networks.agent.named_parameters() if name in names]
    networks.agent.requires_grad_(False)
    for parameter in moving:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(moving, lr=config.learning_rate)
    generator = torch.Generator().manual_seed(0)
    reach = OBS_SHAPE[1] - agent.config.encoder.crop_size + 1

    def step() -> None:
        top, left = torch.randint(reach, (2, 2 * CROPS), generator=generator)
        tensors = tuple(torch.tensor(part, device=agent.device) for part in transition)
        plain.adaptation_step(networks, optimizer, tensors, top, left)

    return step


def training_cases(device: torch.device) -> Iterator[Case]:
    """Two updates of soft actor-critic: with and without actor and self-supervision."""
    for network in NETWORKS:
        size = NETWORKS[network].encoder.crop_size
        batch = random_batch(128, size, device)
        for precision in precisions(device):
            agent = make_agent(network, device, critic=True)
            sac = SAC(agent, ACTIONS, SACConfig(), precision)
            reference = plain.PlainLearner(agent, sac)
            name = f"training: two updates, {network} network, batch 128, {precision}"
            yield name, _two_updates_plain(reference, batch), _two_updates(sac, batch)


def _two_updates(sac: SAC, batch: Batch) -> Callable[[], object]:
    return lambda: (sac.update(batch, self_supervise=True), sac.update(batch))


def _two_updates_plain(learner: plain.PlainLearner, batch: Batch) -> Callable[[], object]:
    return lambda: (learner.update(batch, True, True), learner.update(batch, False, False))


def random_batch(count: int, size: int, device: torch.device) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2, count, OBS_SHAPE[0], size, size), dtype=torch.uint8, generator=generator)
    action = torch.rand(count, ACTIONS, generator=generator) * 2 - 1
    obs, next_obs = images.to(device)
    return Batch(
        obs, action.to(device), torch.rand(count).to(device), torch.zeros(count, dtype=torch.bool).to(device), next_obs
    )


def environment_cases() -> Iterator[Case]:
    """One decision in walker walk, against dm_control's own picture and a key pixel by pixel."""
    task = "walker_walk"
    for quality in ("fast", "standard"):
        for shift in ("none", "color_hard", "video_easy"):
            config = envs.EnvConfig(task=task, shift=shift, quality=quality)
            env = envs.make(config)
            env.reset(seed=0)
            action = np.zeros(env.action_space.shape or (), np.float32)
            yield f"environment step, {shift}, {quality}", plain_environment(task, shift), _step(env, action)
            env.close()


def _step(env: Any, action: np.ndarray) -> Callable[[], object]:
    def step() -> None:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()

    return step


def plain_environment(task: str, shift: str) -> Callable[[], object]:
    env = suite.load(*task.split("_", 1))
    env.reset()
    film = np.random.default_rng(0).integers(256, size=(100, 100, 3), dtype=np.uint8)

    def step() -> None:
        for _ in range(4):
            if env.step(np.zeros(env.action_spec().shape)).last():
                env.reset()
        picture = env.physics.render(100, 100, camera_id=0)
        if shift.startswith("video"):
            picture = np.where(plain.is_green(picture)[..., None], film, picture)

    return step


def replay_cases() -> Iterator[Case]:
    """A batch of 128 from 5,000 transitions; the reference keeps both observations of each as they are."""
    rng, count = np.random.default_rng(0), 5_000
    # One frame all along: what it shows costs nothing.
    frames = np.tile(rng.integers(256, size=(1, 3, 100, 100), dtype=np.uint8), (1, 3, 1, 1))
    both = np.repeat(frames[None], 2, 0).repeat(count, 1)
    replay = ReplayBuffer(count + 100, (3, 100, 100), ACTIONS, 3)
    for step in range(count):
        if step % 250 == 0:
            replay.begin(frames[0])
        replay.append(np.zeros(ACTIONS, np.float32), 0.0, False, frames[0])
    per_transition = sum(array[:1].nbytes for array in replay._arrays.values()) * (251 / 250)
    plainly = both[:, :1].nbytes + 4 * ACTIONS + 5

    def reference() -> None:
        index = rng.integers(count, size=128)
        for observations in both:
            torch.from_numpy(observations[index])

    name = f"replay: a batch of 128, {plainly / 1e3:.0f} kB against {per_transition / 1e3:.1f} kB a transition"
    yield name, reference, lambda: replay.sample(128)


def acting_cases(device: torch.device) -> Iterator[Case]:
    obs = np.random.default_rng(0).integers(256, size=OBS_SHAPE, dtype=np.uint8)
    for network in NETWORKS:
        agent = make_agent(network, device)
        yield f"act, {network} network", plain_acting(agent, obs), _act(agent, obs)


def _act(agent: Agent, obs: np.ndarray) -> Callable[[], object]:
    return lambda: agent.act(obs)


def plain_acting(agent: Agent, obs: np.ndarray) -> Callable[[], object]:
    networks, margin = plain.PlainNetworks(agent), (OBS_SHAPE[1] - agent.config.encoder.crop_size) // 2

    @torch.no_grad()
    def act() -> None:
        crop = torch.from_numpy(obs)[None, :, margin:-margin, margin:-margin].to(agent.device)
        networks.agent.actor.mean(networks.features(crop)).cpu()

    return act


def episode_rows(device: str) -> Iterator[Row]:
    """Whole episodes of the shipped cartpole agent under color_hard, one process: adapting against frozen."""
    arms = {name: cartpole_arm(chosen, device) for name, chosen in adaptations().items()}
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(3):
        for name, arm in arms.items():
            times[name] += [episode.seconds for _, episode in run_arms([arm], workers=1)]
    frozen = statistics.median(times["frozen"])
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        slower = "" if name == "frozen" else f", {middle / frozen:.2f} times the frozen one's"
        note = f"{3600 / middle:.0f} episodes an hour{slower}"
        yield Row(f"episode, cartpole_swingup, {name}", None, middle * 1e3, None, None, len(seconds), note)


def adaptations() -> dict[str, AdaptationConfig | None]:
    default = ADAPTATIONS["default"]
    return {
        "frozen": None,
        "adapting (default)": default,
        "adapting (light)": ADAPTATIONS["light"],
        "adapting (paper)": ADAPTATIONS["paper"],
        "adapting (paper, crops at every stride)": dataclasses.replace(ADAPTATIONS["paper"], crop_grid="stride"),
    }


def cartpole_arm(adaptation: AdaptationConfig | None, device: str, episodes: int = 2) -> Arm:
    from pad.checkpoint import load_checkpoint

    env = trained_env("cartpole_swingup", load_checkpoint("cartpole_swingup").env)
    env = dataclasses.replace(env, shift="color_hard")
    return Arm("cartpole_swingup", env, adaptation, seed=3000, episodes=episodes, device=device)


def worker_rows(device: str) -> Iterator[Row]:
    """The same episodes in more and more processes."""
    workers, alone = 1, 0.0
    while workers <= default_workers():
        list(run_arms([cartpole_arm(None, device, workers)], workers))  # the processes start
        arm = cartpole_arm(ADAPTATIONS["default"], device, 4 * default_workers())
        started = time.perf_counter()
        count = len(list(run_arms([arm], workers)))
        each = (time.perf_counter() - started) / count
        alone = alone or each
        note = f"{3600 / each:.0f} episodes an hour, {alone / each:.2f} times one worker's"
        yield Row(f"adapting episodes, {workers} worker(s)", None, each * 1e3, None, None, count, note)
        workers *= 2


if __name__ == "__main__":
    cli.run(main)
