"""Weights on disk, with the settings that made them: safe to open, and whole after a crash.

A checkpoint is a folder with `model.safetensors` and `config.yaml`, and in a run also
`train_state.pt`, which holds plain containers and tensors only. Opening one executes nothing.
"""

import io
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
import yaml

from pad import settings
from pad.agent import Agent, AgentConfig
from pad.calibration import Calibration
from pad.files import first_line, write_atomically, write_folder

FORMAT = 1
"""Raised when an older version of this package could not read what this one writes."""
T = TypeVar("T")
ZOO = Path(__file__).parent / "zoo"
"""Trained agents that ship with the package."""


@dataclass
class Checkpoint:
    """An agent and what is known about it.

    `env` are the settings of the environment that it was trained in, as the script that made it
    wrote them; this package does not read them. `about` is for people.
    """

    agent: Agent
    env: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    folder: Path,
    checkpoint: Checkpoint,
    train_state: Mapping[str, Any] | None = None,
    model: bool = True,
    half: bool = False,
) -> None:
    """Write a checkpoint, replacing the one that is there only when the new one is whole.

    Raises:
        OSError: when the disk does not take it; the one that was there is left, and nothing beside it.

    Args:
        train_state: what a run needs to go on.
        model: False leaves the weights out, while there is nothing in them worth deploying.
        half: store float16, half the size; loading gives float32 again.
    """
    agent = checkpoint.agent
    description = {
        "format": FORMAT,
        "agent": settings.to_dict(agent.config),
        "obs_shape": list(agent.obs_shape),
        "action_size": agent.action_size,
        "frame_channels": agent.frame_channels,
        "critic": agent.critic is not None,
        "calibration": None if agent.calibration is None else settings.to_dict(agent.calibration),
        "env": checkpoint.env,
        "about": checkpoint.about,
    }
    files = {"config.yaml": _to_yaml(description).encode()}
    if model:
        weights = {name: value.detach().cpu().contiguous() for name, value in agent.state_dict().items()}
        weights = {name: value.half() for name, value in weights.items()} if half else weights
        files["model.safetensors"] = safetensors.torch.save(weights)
    if train_state is not None:
        buffer = io.BytesIO()
        torch.save(dict(train_state), buffer)
        files["train_state.pt"] = buffer.getvalue()
    write_folder(folder, files)


def _to_yaml(description: dict[str, Any]) -> str:
    return yaml.safe_dump(description, sort_keys=False, default_flow_style=None, width=120)


def find_checkpoint(name: str | Path) -> Path:
    """The folder of a checkpoint: a path to it or to the run that holds it, or the name of one that ships.

    Raises:
        FileNotFoundError: when there is none, naming those that ship.
    """
    path = Path(name).resolve()
    for folder in (path / "checkpoint", path, ZOO / str(name)):
        for candidate in (folder, folder.with_name(f"{folder.name}.old")):
            if (candidate / "config.yaml").is_file():
                return candidate
    shipped = ", ".join(sorted(path.parent.name for path in ZOO.glob("*/config.yaml"))) or "none"
    raise FileNotFoundError(f"no checkpoint at {str(name)!r}: no such folder with a config.yaml; shipped: {shipped}")


def load_checkpoint(name: str | Path, device: str = "cpu") -> Checkpoint:
    """Open a checkpoint for deployment or to train on.

    Raises:
        FileNotFoundError: when there is none, or it has no weights yet.
        ValueError: when it is corrupt, foreign, or of a newer format.
    """
    return _undisturbed(name, lambda folder: _load(folder, device))


def _undisturbed(name: str | Path, read: Callable[[Path], T]) -> T:
    """What `read` makes of a checkpoint's folder, which no run has put another one in the place of meanwhile.

    Settings of one and weights of the other do not mix.
    """
    while True:
        folder = find_checkpoint(name)
        seen = identity(folder)
        try:
            found = read(folder)
        except (ValueError, FileNotFoundError):
            if seen == identity(folder):
                raise
        else:
            if seen == identity(folder):
                return found


@contextmanager
def copied(name: str | Path) -> Iterator[Path]:
    """A copy of a checkpoint as it is now, for as long as it is needed: a run may put another one in its place.

    Raises:
        FileNotFoundError: when there is none, or it has no weights yet.
    """
    with tempfile.TemporaryDirectory(prefix="pad_") as place:

        def copy(folder: Path) -> Path:
            for part in ("config.yaml", "model.safetensors"):
                shutil.copyfile(folder / part, Path(place) / part)
            return Path(place)

        yield _undisturbed(name, copy)


def identity(folder: Path) -> tuple[int, int] | None:
    """Changes when another checkpoint takes the place of the one in `folder`; None while there is none."""
    try:
        found = (folder / "config.yaml").stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _load(folder: Path, device: str) -> Checkpoint:
    description = _read_description(folder / "config.yaml")
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(
            f"{folder} has no model.safetensors: its run is still training the expert, or it is cut off"
        )
    try:
        agent = Agent(
            tuple(description["obs_shape"]),
            int(description["action_size"]),
            settings.from_dict(AgentConfig, description["agent"]),
            int(description["frame_channels"]),
            critic=bool(description["critic"]),
        )
        calibration = description.get("calibration")
        if calibration:
            agent.calibration = settings.from_dict(Calibration, calibration, "calibration")
    except Exception as error:  # whatever a foreign file makes the networks say
        raise ValueError(f"{folder / 'config.yaml'} does not describe an agent: {first_line(error)}") from error
    try:
        agent.load_state_dict({n: v.float() for n, v in safetensors.torch.load_file(weights).items()})
    except Exception as error:  # safetensors raises its own kinds, torch RuntimeError
        raise ValueError(f"{weights} does not hold this agent's weights: {first_line(error)}") from error
    if not all(value.isfinite().all() for value in agent.state_dict().values()):
        raise ValueError(f"{weights} holds NaN or infinite weights")
    return Checkpoint(agent.to(device).eval(), description.get("env") or {}, description.get("about") or {})


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {first_line(error)}") from error
    if not isinstance(description, dict) or not isinstance(description.get("format"), int):
        raise ValueError(f"{path} is not the config of a PAD checkpoint; a run has none before its first minute")
    for name, kind in (("env", dict), ("about", dict), ("obs_shape", list), ("action_size", int)):
        value = description.get(name)
        if not isinstance(value, kind) and not (value is None and kind is dict):
            raise ValueError(f"{path} is not the config of a PAD checkpoint: {name} is {value!r}")
    if description["format"] > FORMAT:
        raise ValueError(f"{path} has format {description['format']}, this version reads up to {FORMAT}: update pad")
    return description


def read_about(folder: Path) -> dict[str, Any]:
    """What a checkpoint says for people, of weights that may not be there yet."""
    return _read_description(folder / "config.yaml").get("about") or {}


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Put a calibration into a checkpoint that is there, and leave everything else as it is."""
    path = folder / "config.yaml"
    description = {**_read_description(path), "calibration": settings.to_dict(calibration)}
    write_atomically(path, _to_yaml(description).encode())


def load_train_state(folder: Path) -> dict[str, Any]:
    """What a run needs to go on.

    Raises:
        FileNotFoundError: when the checkpoint has none.
        ValueError: when it is corrupt.
    """
    path = folder / "train_state.pt"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no train_state.pt: it can be evaluated, but not resumed")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a truncated file fails in many ways
        raise ValueError(f"{path} cannot be read: {first_line(error)}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds no state of a training run")
    return state
