"""What a deployed policy has learned, in one file: safe to open, and whole at any moment."""

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pad.files import first_line, write_atomically

FORMAT = 2
"""Raised when an older version of this package could not read what this one writes, or the other way round."""
PARTS = ("weights", "online", "averaged")
"""Of a snapshot: values of what moves, by name. In use, those that the optimizer moves, and their running average."""


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a policy's snapshot; a crash leaves the file that was there.

    Raises:
        OSError: when the disk does not take it; the file that was there is left.
    """
    tensors = {f"{part}/{name}": value.cpu().contiguous() for part in PARTS for name, value in state[part].items()}
    optimizer = state["optimizer"]
    plain: dict[str, dict[str, float]] = {}
    for index, slots in optimizer["state"].items():
        for name, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value.cpu().contiguous()
            elif value is not None:
                plain.setdefault(str(index), {})[name] = value
    about = {"format": FORMAT, "origin": state["origin"], "given_up": state["given_up"],
             "opportunities": state["opportunities"], "groups": optimizer["param_groups"], "plain": plain}  # fmt: skip
    write_atomically(path, safetensors.torch.save(tensors, {"pad": json.dumps(about)}))


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is corrupt.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no adapted state {path}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["pad"])
            if (version := int(about["format"])) != FORMAT:
                newer = "update pad" if version > FORMAT else "begin from the trained weights again"
                raise ValueError(f"it has format {version}, this version reads {FORMAT}: {newer}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        state: dict[str, Any] = {part: {} for part in PARTS}
        state |= {
            "given_up": about["given_up"],
            "origin": str(about["origin"]),
            "opportunities": about["opportunities"],
        }
        slots: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in about["plain"].items()}
        for name, value in tensors.items():
            part, rest = name.split("/", 1)
            if part == "optimizer":
                index, slot = rest.split("/")
                slots.setdefault(int(index), {})[slot] = value
            else:
                state[part][rest] = value
        state["optimizer"] = {"state": slots, "param_groups": about["groups"]}
    except Exception as error:  # whatever a foreign or truncated file makes the reader say
        raise ValueError(f"{path} is no adapted state: {first_line(error)}") from error
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise ValueError(f"{path} holds NaN or infinite values")
    return state


def digest(weights: tuple[Tensor, ...]) -> str:
    """Changes with any of the weights."""
    summed = hashlib.sha256()
    for weight in weights:
        summed.update(str(tuple(weight.shape)).encode())
        # As bytes: numpy knows nothing of bfloat16.
        summed.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return summed.hexdigest()
