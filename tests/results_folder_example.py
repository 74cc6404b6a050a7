"""Writes results of a benchmark that was never run: made-up returns with the shape of real ones."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from pad.video import write_video

ENV = {"action_repeat": 4, "frame_stack": 3, "image_size": 100, "camera": 0, "episode_length": 1000, "quality": "fast"}
ADAPTATION = {"moves": "color", "optimizer": "adam", "learning_rate": 0.01, "batch_size": 32, "guards": {"trial": 2}}
SKILL = {"cartpole_swingup": 0.85, "walker_stand": 0.86, "walker_walk": 0.9}
HARM = {"none": 0.0, "color_easy": 0.03, "color_hard": 0.3, "video_easy": 0.25, "video_hard": 0.4}
HELP = {"frozen": 0.0, "default": 0.4, "light": 0.2}
"""Share of a shift's harm that a policy undoes."""


def write_results(
    folder: Path,
    tasks: Sequence[str] = ("walker_walk",),
    shifts: Sequence[str] = ("none", "color_hard"),
    policies: Sequence[str] = ("frozen", "default"),
    seeds: Sequence[int] = (0,),
    episodes: int = 3,
    decisions: int = 20,
    size: int = 32,
    sequence: Sequence[str] = (),
    videos: bool = True,
) -> Path:
    """Cells of every combination, and with a sequence a lifelong run of each policy of the first task."""
    described = {"name": "Example benchmark", "tasks": list(tasks), "shifts": list(shifts), "policies": list(policies),
                 "episodes": episodes, "seeds": list(seeds)}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmark.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    for task in tasks:
        for shift in shifts:
            for policy in policies:
                for seed in seeds:
                    cell = make_cell(task, shift, policy, seed, [shift] * episodes)
                    name = write_cell(folder, cell, [shift] * episodes, decisions)
                    if videos and seed == seeds[0]:
                        write_film(folder / "videos" / f"{name}.mp4", task, shift, policy, decisions, size)
    for policy in policies if sequence else ():
        cell = make_cell(tasks[0], "sequence", policy, seeds[0], sequence)
        write_cell(folder, {**cell, "sequence": list(sequence)}, sequence, decisions)
    return folder


def make_cell(task: str, shift: str, policy: str, seed: int, shifts: Sequence[str], checkpoint: str = "") -> dict:
    return {
        "checkpoint": checkpoint or task,
        "task": task,
        "shift": shift,
        "policy": policy,
        "seed": seed,
        "episodes": len(shifts),
        "env": {"task": task, "shift": shift, **ENV},
        "adaptation": None if policy == "frozen" else ADAPTATION,
        "weights": "b" * 64,
        "sequence": None,
    }


def write_cell(folder: Path, cell: dict, shifts: Sequence[str], decisions: int) -> str:
    """The cell's file; its id."""
    name = f"{stable(json.dumps(cell)):016x}"
    met = [make_episode(cell, place, shift, decisions) for place, shift in enumerate(shifts)]
    measured = {
        "seconds": 12.3,
        "steps_per_second": 50.1 if cell["policy"] != "frozen" else 220.0,
        "hardware": "AMD EPYC, 2 cores, Linux",
        "versions": {"python": "3.11.7", "torch": "2.13.0", "mujoco": "3.17.0", "dm_control": "1.0.50", "pad": "0.1.0"},
        "command": f"python scripts/benchmark.py --config configs/benchmark/example.yaml --seed {cell['seed']}",
        "finished": "2026-01-01T12:00:00+00:00",
    }
    path = folder / "cells" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"id": name, "cell": cell, "episodes": met, "measured": measured}))
    return name


def make_episode(cell: dict, place: int, shift: str, decisions: int) -> dict:
    """Rewards that climb to a level, lower under a shift; what adapts makes up for a part of that as it goes."""
    kind = shift.split(" + ")[0].split(":")[0]
    harm, helped = HARM.get(kind, 0.2), HELP.get(cell["policy"], 0.3)
    # Both arms meet the same episode: luck is theirs together, noise their own.
    luck = np.random.default_rng(stable(f"{cell['task']} {cell['seed']} {place} {shift}"))
    rng = np.random.default_rng(stable(f"{cell['task']} {cell['policy']} {cell['seed']} {place} {shift}"))
    skill = SKILL.get(cell["task"], 0.8) * (1 - harm * luck.uniform(0.3, 1.6)) + luck.normal(0, 0.02)
    time = np.linspace(0, 1, decisions)
    if luck.random() < 0.04:
        skill *= 0.3  # a fall, which no policy gets up from
    effect = helped * harm * np.clip(2 * time - 0.4, 0, 1) * rng.normal(0.9, 0.5) - 0.1 * helped * (kind == "camera")
    reward = skill * (1 - np.exp(-6 * time)) + effect
    rewards = np.clip(reward + rng.normal(0, 0.04, decisions), 0, 1) * 1000 / decisions
    loss = rng.uniform(0.6, 1.4, decisions) * (0.05 + 0.3 * harm * (1 - 2 * helped * time))
    return {
        "seed": stable(f"{cell['seed']} {place}") % 2**31,
        "shift": shift,
        "episode_return": float(rewards.sum()),
        "rewards": [round(float(r), 5) for r in rewards],
        "self_supervised_loss": [round(float(x), 5) for x in loss],
        "updates": 0 if cell["policy"] == "frozen" else int(rng.integers(decisions)),
        "guards": {} if cell["policy"] == "frozen" else {"features": int(rng.integers(1, 60)), "trial": 3},
        "drift": 0.0 if cell["policy"] == "frozen" else 0.012,
    }


def write_film(path: Path, task: str, shift: str, policy: str, decisions: int, size: int) -> None:
    """A figure that swings before a background which the shift colours."""
    rng = np.random.default_rng(stable(shift))
    floor, sky = (rng.integers(40, 200, 3) for _ in range(2))
    rows, columns = np.mgrid[:size, :size] / size
    scene = np.where((rows > 0.7)[..., None], floor, sky * (0.6 + 0.4 * rows[..., None]))
    frames = []
    for step in range(decisions):
        angle = 2.2 * np.sin(step / (6 if policy == "frozen" else 5)) + stable(task) % 7
        along = np.clip((columns - 0.5) * np.cos(angle) + (rows - 0.5) * np.sin(angle), 0, 0.32)
        away = np.hypot(columns - 0.5 - along * np.cos(angle), rows - 0.5 - along * np.sin(angle))
        frame = np.where((away < 0.05)[..., None], (235, 225, 205), scene)
        frames.append((frame + np.random.default_rng(step).normal(0, 2, frame.shape)).clip(0, 255).astype(np.uint8))
    write_video(path, frames, fps=25)


def write_failure(folder: Path, cell: dict, error: str = "the simulator stopped") -> None:
    path = folder / "failed" / "feed.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"id": "feed", "cell": cell, "error": error, "traceback": f"Traceback\nRuntimeError: {error}"}
    path.write_text(json.dumps(record))


def stable(text: str) -> int:
    """A number that is the same in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
