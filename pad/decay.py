"""Step sizes that fall while training goes on."""

import math


def cosine_decay(first: float, last: float, progress: float) -> float:
    """From `first` to `last` along half a cosine (Loshchilov and Hutter, 2017), as `progress` goes from 0 to 1."""
    share = (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2
    return last + (first - last) * share
