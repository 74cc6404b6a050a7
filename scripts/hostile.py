"""What cameras and links do to observations, for trials: black, noise, stuck, shifted, of a wrong shape or kind."""

from collections.abc import Sequence

import numpy as np

FAULTS = ("black", "white", "noise", "stuck", "shifted", "wrong_shape", "wrong_dtype")


def spoil(obs: np.ndarray, before: np.ndarray, fault: str, rng: np.random.Generator) -> np.ndarray:
    """An observation (channels, height, width), uint8, as it arrives under a fault; `before` is the one before it.

    Raises:
        ValueError: for an unknown fault.
    """
    if fault == "black":
        return np.zeros_like(obs)
    if fault == "white":
        return np.full_like(obs, 255)
    if fault == "noise":
        return rng.integers(256, size=obs.shape, dtype=np.uint8)
    if fault == "stuck":
        return before.copy()
    if fault == "shifted":
        return np.roll(obs, obs.shape[-1] // 3, axis=-1)
    if fault == "wrong_shape":
        return np.ascontiguousarray(obs[:, 1:])
    if fault == "wrong_dtype":
        return obs.astype(np.float32)
    raise ValueError(f"unknown fault {fault!r}; known: {', '.join(FAULTS)}")


def some_fault(rng: np.random.Generator, faults: Sequence[str] = FAULTS) -> str:
    """Any of the faults, each as likely."""
    return faults[int(rng.integers(len(faults)))]
