"""Number format of the convolutions; heads and losses are always in float32."""

import time
from contextlib import AbstractContextManager
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F

Precision = Literal["float32", "bfloat16", "auto"]
"""auto: bfloat16 where a short trial finds it faster on this machine, else float32."""


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager:
    """Inside, convolutions compute in the wanted format."""
    return torch.autocast(device.type, torch.bfloat16, enabled=resolve(precision, device.type) == "bfloat16")


def resolve(precision: Precision, device: str) -> Literal["float32", "bfloat16"]:
    """The format that is used: "auto" becomes one of the others, the same for the life of the process."""
    if precision == "auto":
        return "bfloat16" if _bfloat16_is_faster(torch.device(device).type) else "float32"
    return precision


@cache
def _bfloat16_is_faster(device: str) -> bool:
    # Not every processor has arithmetic for it; without, it is emulated at many times the cost.
    best = {enabled: float("inf") for enabled in (False, True)}
    for _ in range(8):  # in turns: what else the machine does slows both down
        for enabled in best:
            best[enabled] = min(best[enabled], _trial(device, enabled))
    return best[True] < 0.8 * best[False]


def _trial(device: str, enabled: bool) -> float:
    """Seconds of a convolution forward and backward."""
    # On a GPU enough of them that the time is spent in kernels, not in starting them.
    count = 1024 if device.startswith("cuda") else 8
    images = torch.zeros(count, 32, 41, 41, device=device).contiguous(memory_format=torch.channels_last)
    weight = torch.zeros(32, 32, 3, 3, device=device, requires_grad=True)
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    started = time.perf_counter()
    with torch.autocast(device, torch.bfloat16, enabled=enabled):
        F.conv2d(F.conv2d(images, weight), weight).sum().backward()
    wait()
    return time.perf_counter() - started
