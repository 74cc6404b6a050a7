"""Let a policy adapt for very many steps, and measure that it neither grows nor slows down.

    python scripts/soak.py
    python scripts/soak.py --steps 20000 --adaptation background --output soak.json

A small agent acts on images without a simulator, sees hostile ones among them, keeps learning, and saves what it has
learned now and then. Time is judged by what this process used of the processor, so that other work beside it does not
count. Exit code 1: memory or time grew.
"""

import dataclasses
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cli
import numpy as np
import torch
from episodes import hardware
from hostile import some_fault, spoil

from envs.gradient import make_gradient_env
from pad.agent import Agent, AgentConfig
from pad.deployment import AdaptationConfig, AdaptivePolicy, GuardConfig
from pad.deployment.calibrator import calibrate
from pad.encoder import EncoderConfig
from pad.tracking import say

AGENT = AgentConfig(
    EncoderConfig(crop_size=20, filters=8, strides=(2, 1, 1), shared_layers=2, projection=12), hidden=16
)
TINT = (0.6, 1.0, 0.8)
"""Colours that the agent was not made for, so that there is something to learn."""


@dataclass(frozen=True)
class SoakConfig:
    """Adapt for many steps beside hostile observations; fail when memory or time grows."""

    steps: int = 1_000_000
    points: int = 100
    """Measurements on the way, in equal distances."""
    hostile: float = 0.05
    """Share of observations that a camera or link has spoiled."""
    adaptation: Literal["inline", "background"] = "inline"
    every: int = 32
    """Decisions between two gradient steps."""
    batch_size: int = 8
    """Random crops in each gradient step."""
    gate: bool = False
    """Learn only where a gate allows it, which after a while is nearly never."""
    episode_steps: int = 500
    """Decisions in an episode; what was learned is kept at its end."""
    save_every: int = 5_000
    """Decisions between two files of what was learned, each of which is read back."""
    growth_mb: float = 8.0
    """Memory that may be added after the first tenth."""
    slowdown: float = 1.5
    """How much longer a step may take in the last tenth than in the first."""
    seed: int = 0
    output: Path | None = None
    """JSON file for the points."""

    def __post_init__(self) -> None:
        for name in ("steps", "points", "every", "batch_size", "episode_steps", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.points < 10 or self.steps < self.points:
            raise ValueError(f"points must be from 10 to steps, got {self.points} of {self.steps} steps")
        if not 0 <= self.hostile < 1:
            raise ValueError(f"hostile must be at least 0 and below 1, got {self.hostile}")


@dataclass(frozen=True)
class Point:
    """What was measured since the point before."""

    step: int
    ms_per_step: float
    """By the clock, with the environment and whatever else the machine did."""
    cpu_ms_per_step: float
    """Of this process: all threads, the environment included."""
    rss_mb: float
    updates: int
    accepted: int
    """Times that learned weights were taken over."""
    drift: float
    """Distance of the weights in use from the trained ones, as a share of their norm."""


def main() -> None:
    config = cli.parse(SoakConfig, sys.argv[1:])
    torch.set_num_threads(1)
    points, policy = list[Point](), make_policy(config)
    with policy, tempfile.TemporaryDirectory() as folder:
        for point in soak(policy, config, Path(folder)):
            points.append(point)
            say(f"step {point.step}: {1e3 / point.ms_per_step:.0f} steps/s, {point.cpu_ms_per_step:.2f} ms of processor"
                f" a step, {point.rss_mb:.1f} MB, {point.updates} updates, drift {point.drift:.3f}")  # fmt: skip
            if config.output:
                write(config, points, policy)
        leftovers = sorted(path.name for path in Path(folder).iterdir() if path.name != "state.safetensors")
    found = findings(points, config)
    if leftovers:
        found.append(f"left behind beside the state: {', '.join(leftovers[:3])}")
    say("; ".join(found) if found else "neither memory nor time grew")
    if found:
        sys.exit(1)


def make_policy(config: SoakConfig) -> AdaptivePolicy:
    torch.manual_seed(config.seed)
    agent = Agent((9, 24, 24), 2, AGENT)
    gate = 1.0 if config.gate else None
    if config.gate:
        agent.calibration = calibrate(agent, make_gradient_env(steps=100), range(5))
    adaptation = AdaptationConfig(
        batch_size=config.batch_size,
        every=config.every,
        reset="never",
        guards=GuardConfig(gate=gate, gate_features=gate, gate_colors=gate),
    )
    return AdaptivePolicy(agent, adaptation, config.seed, config.adaptation)


def soak(policy: AdaptivePolicy, config: SoakConfig, folder: Path) -> Iterator[Point]:
    """Acts and learns; measures at equal distances."""
    rng = np.random.default_rng(config.seed)
    env = make_gradient_env(steps=config.episode_steps, tint=TINT)
    ends = {round(config.steps * (number + 1) / config.points) for number in range(config.points)}
    obs, _ = env.reset(seed=config.seed)
    policy.reset()
    before, updates, accepted = 0, 0, 0
    started, used = time.perf_counter(), time.process_time()
    for step in range(1, config.steps + 1):
        # The untrained agent alone would stay in a corner, and a picture that never changes teaches nothing.
        action = np.clip(policy.act(obs) + rng.normal(0, 0.7, 2), -1, 1).astype(np.float32)
        next_obs, _, terminated, truncated, _ = env.step(action)
        if rng.random() < config.hostile:
            next_obs = spoil(next_obs, obs, some_fault(rng), rng)
        updates += int(policy.observe(obs, action, next_obs)["updates"])
        obs = next_obs
        if terminated or truncated:
            obs, _ = env.reset()
            policy.reset()
        if step % config.save_every == 0:
            policy.save(folder / "state.safetensors")
            policy.load(folder / "state.safetensors")
        if step in ends:
            now, cpu, count = time.perf_counter(), time.process_time(), policy.counts.get("accepted", 0)
            yield Point(
                step=step,
                ms_per_step=round(1e3 * (now - started) / (step - before), 4),
                cpu_ms_per_step=round(1e3 * (cpu - used) / (step - before), 4),
                rss_mb=round(resident_mb(), 2),
                updates=updates,
                accepted=count - accepted,
                drift=round(policy.report()["drift"], 4),
            )
            before, updates, accepted = step, 0, count
            started, used = time.perf_counter(), time.process_time()


def findings(points: list[Point], config: SoakConfig) -> list[str]:
    """What is wrong with a run, in words; empty when nothing is."""
    tenth = len(points) // 10
    first, last = points[:tenth], points[-tenth:]
    found = []
    growth = max(point.rss_mb for point in last) - max(point.rss_mb for point in first)
    if growth > config.growth_mb:
        found.append(f"memory grew by {growth:.1f} MB, {config.growth_mb:g} are allowed")
    slower = statistics.median(p.cpu_ms_per_step for p in last) / statistics.median(p.cpu_ms_per_step for p in first)
    if slower > config.slowdown:
        found.append(f"a step takes {slower:.2f} times as long at the end, {config.slowdown:g} are allowed")
    if not any(point.updates for point in last):
        found.append("nothing was learned any more at the end")
    return found


def resident_mb() -> float:
    """Memory of this process now; where the system does not say, the most that it ever had."""
    status = Path("/proc/self/statm")
    if status.is_file():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def write(config: SoakConfig, points: list[Point], policy: AdaptivePolicy) -> None:
    assert config.output is not None
    record = {
        "command": cli.typed(),
        "hardware": hardware(),
        "settings": {**dataclasses.asdict(config), "output": str(config.output)},
        "guards": policy.counts,
        "points": [dataclasses.asdict(point) for point in points],
    }
    cli.write_text(config.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    cli.run(main)
