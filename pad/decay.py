"""Settings that move while training goes on."""

import math


def cosine_decay(first: float, last: float, progress: float) -> float:
    """Half a cosine from `first` to `last` (Loshchilov and Hutter, 2017), as `progress` goes from 0 to 1."""
    share = (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2
    return last + (first - last) * share


def linear_decay(first: float, last: float, progress: float) -> float:
    """A straight line from `first` to `last`, as `progress` goes from 0 to 1."""
    return first + (last - first) * min(max(progress, 0.0), 1.0)
