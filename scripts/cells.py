"""One cell of a benchmark: one policy, one shift, some episodes. What it is says what comes out of it."""

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from episodes import Arm, hardware, make_policy, open_env
from under_way import UnderWay

import envs
import pad
from envs.shifts import registered_code
from pad import settings
from pad.checkpoint import find_checkpoint, identity
from pad.deployment import AdaptationConfig, AdaptivePolicy, MeasuredPolicy
from pad.evaluation import Episode, control_rate, run_episode
from pad.memory import keep_pages
from pad.seeding import episode_seed
from pad.video import write_video

_running = threading.Lock()
FRAMES_PER_SECOND = 20
_REWARD_DIGITS = 6


@dataclass(frozen=True)
class Cell:
    """What is run; two equal cells have equal results, on one kind of machine to the last digit."""

    checkpoint: str
    task: str
    shift: str
    """"sequence" where each episode has its own."""
    policy: str
    seed: int
    episodes: int
    env: envs.EnvConfig
    adaptation: AdaptationConfig | None
    """None: frozen."""
    weights: str
    """Of the checkpoint's files, so that another training's results are not taken for this one's."""
    data: str | None = None
    """Of the files that colours and films are read from, in the same way."""
    sequence: tuple[str, ...] | None = None
    """The shift of each episode, met one after the other by the same policy."""
    device: str = "cpu"
    code: str | None = None
    """Of the files that register shifts of somebody's own, in the same way."""

    def __post_init__(self) -> None:
        if self.sequence is not None and len(self.sequence) != self.episodes:
            raise ValueError(f"a sequence of {len(self.sequence)} shifts is no {self.episodes} episodes")

    @property
    def id(self) -> str:
        """The name of its files: of all that it is."""
        return hashlib.sha256(json.dumps(self.described, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def described(self) -> dict[str, Any]:
        """All that it is, in plain containers. Files are compared by it, so a shift of this package adds nothing."""
        found = settings.to_dict(self)
        if self.code is None:
            del found["code"]
        return found

    @property
    def shifts(self) -> tuple[str, ...]:
        """Of each episode."""
        return self.sequence or (self.shift,) * self.episodes

    @property
    def title(self) -> str:
        return f"{self.checkpoint}, {self.shift}, {self.policy}, seed {self.seed}"

    @property
    def arm(self) -> Arm:
        """What plays it."""
        return Arm(self.checkpoint, self.env, self.adaptation, self.seed, self.episodes, self.device)

    @property
    def decisions(self) -> int:
        """The agent's steps in all episodes."""
        return self.episodes * self.env.decisions


@dataclass(frozen=True)
class Result:
    """What came of a cell; `error` and `traceback` where nothing did."""

    cell: Cell
    episodes: list[dict[str, Any]]
    measured: dict[str, Any]
    video: bytes | None = None
    error: str = ""
    traceback: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain containers for a file; the video goes beside it."""
        described = {"id": self.cell.id, "cell": self.cell.described}
        if self.error:
            return {**described, "error": self.error, "traceback": self.traceback}
        return {**described, "episodes": self.episodes, "measured": self.measured}


def run_cell(cell: Cell, command: str, video: bool, results: Path | None = None) -> Result:
    """Every episode of a cell, in this process; whatever goes wrong is in the result.

    In the folder of `results`, where there is one, it leaves each episode as it ends, and goes on after those that it
    finds there.
    """
    # Two threads beside another busy process are many times slower than one.
    torch.set_num_threads(1)
    keep_pages()
    if not _running.acquire(blocking=False):
        reason = "another cell runs in this process, on the same environment: workers need one thread each"
        return Result(cell, [], {}, None, reason)
    try:
        return _run_cell(cell, command, video, results)
    finally:
        _running.release()


def _run_cell(cell: Cell, command: str, video: bool, results: Path | None) -> Result:
    try:
        maker = {"hardware": hardware(cell.device), "versions": versions()}
        if weights_of(cell.checkpoint) != cell.weights:
            raise ValueError(f"{cell.checkpoint} holds other weights here than where the benchmark was started")
        if data_of(cell.env.shift_data) != cell.data:
            raise ValueError(f"{cell.env.shift_data} holds other files here than where the benchmark was started")
        if code_of(cell.shifts) != cell.code:
            raise ValueError(f"{cell.shift} is of other code here than where the benchmark was started")
        under_way = UnderWay(results, cell.id, maker)
        records, film = under_way.read([episode_seed(cell.seed, number) for number in range(cell.episodes)], video)
        if records and cell.arm.lifelong:  # it had learned from what is lost with its process
            under_way.remove()
            records, film = [], None
        for record, fresh in _play(cell, video, len(records)):
            under_way.add(record, fresh)
            records.append(record)
            film = film or fresh
    except Exception as error:  # one cell's failure is not the benchmark's
        return Result(cell, [], {}, None, " ".join(f"{type(error).__name__}: {error}".split()), traceback.format_exc())
    measured = {
        "seconds": round(sum(record["seconds"] for record in records), 3),
        "steps_per_second": round(control_rate([(r["steps"], r["control_seconds"], r["filmed"]) for r in records]), 2),
        **maker,
        "command": command,
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    return Result(cell, [record["episode"] for record in records], measured, film)


def _play(cell: Cell, video: bool, first: int) -> Iterator[tuple[dict[str, Any], bytes | None]]:
    """A record of each episode from number `first` on, with the film of the one that is filmed."""
    started = time.perf_counter()
    policy = make_policy(cell.arm)
    for number, shift in list(enumerate(cell.shifts))[first:]:
        if isinstance(policy, AdaptivePolicy) and not cell.arm.lifelong:
            policy.restore()  # that it gave up in the episode before says nothing of this one
        env = open_env(dataclasses.replace(cell.env, shift=shift))
        filmed = video and number == 0
        # The loss of both arms in the film, measured in the same way.
        shown = MeasuredPolicy(policy) if filmed else policy
        episode = run_episode(env, shown, episode_seed(cell.seed, number), filmed)
        film = encode(episode.frames) if filmed else None
        now = time.perf_counter()
        record = {
            "episode": describe(episode, shift),
            "filmed": filmed,
            "steps": episode.steps,
            "control_seconds": episode.seconds,
            "seconds": now - started,
        }
        started = now
        yield record, film


def describe(episode: Episode, shift: str) -> dict[str, Any]:
    """What a file keeps of an episode."""
    loss = episode.self_supervised_loss
    return {
        "seed": episode.seed,
        "shift": shift,
        "episode_return": episode.episode_return,
        "rewards": [round(reward, _REWARD_DIGITS) for reward in episode.rewards],
        # A policy that looks only now and then has no curve.
        "self_supervised_loss": [float(f"{value:.5g}") for value in loss] if len(loss) == episode.steps else [],
        "updates": episode.updates,
        "guards": dict(episode.guards),
        "drift": round(float(np.mean(episode.drift)), 6) if episode.drift else 0.0,
    }


def encode(frames: list[np.ndarray]) -> bytes:
    """An mp4 of every second pixel's neighbourhood: half as high and wide."""
    pictures = np.stack(frames)
    count, height, width = pictures.shape[0], pictures.shape[1] // 4 * 4, pictures.shape[2] // 4 * 4
    squares = pictures[:, :height, :width].reshape(count, height // 2, 2, width // 2, 2, 3)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "film.mp4"
        write_video(path, list(squares.mean((2, 4)).astype(np.uint8)), FRAMES_PER_SECOND)
        return path.read_bytes()


def weights_of(checkpoint: str) -> str:
    """Changes with anything in a checkpoint that a deployed policy depends on."""
    folder = find_checkpoint(checkpoint)
    return _digest(folder, identity(folder))


@lru_cache(maxsize=32)
def _digest(folder: Path, _identity: object) -> str:
    digest = hashlib.sha256()
    for name in ("model.safetensors", "config.yaml"):
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{folder} has no {name}: its run is still training, or it is cut off")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def data_of(folder: str | None) -> str | None:
    """Changes with any file in a folder of colours and films."""
    if folder is None or not Path(folder).is_dir():
        return None
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return _digest_of_data(folder, tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files))


@lru_cache(maxsize=8)
def _digest_of_data(folder: str, _files: object) -> str:
    return _digest_of(Path(folder))


def _digest_of(*folders: Path, pattern: str = "*") -> str:
    """Changes with any file in the folders, or its name."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.rglob(pattern) if path.is_file()):
            digest.update(f"{path.relative_to(folder)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def code_of(shifts: Sequence[str]) -> str | None:
    """Changes with any file that registers one of the shifts; None where they are all of this package."""
    files = {path: digest for shift in dict.fromkeys(shifts) for path, digest in registered_code(shift).items()}
    if not files:
        return None
    return hashlib.sha256(b"".join(files[path] for path in sorted(files))).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Of what a result depends on."""
    found = {name: importlib.metadata.version(name) for name in ("torch", "mujoco", "dm_control", "gymnasium", "numpy")}
    return {"python": platform.python_version(), "pad": pad.__version__, "code": own_code(), **found}


@cache
def own_code() -> str:
    """Changes with any module of pad and envs: between two versions results may change too."""
    return _digest_of(*(Path(str(package.__file__)).parent for package in (pad, envs)), pattern="*.py")
