"""Randomness has an owner: each episode's seed depends on its number and the run's seed alone."""

import numpy as np


def episode_seed(seed: int, episode: int) -> int:
    """Seed of episode number `episode`, the same for every method, whatever ran before it."""
    return int(np.random.SeedSequence([seed, episode]).generate_state(1)[0])


def training_seed(seed: int, episode: int) -> int:
    """Seed of a training episode: another stream, so that no evaluation repeats one."""
    return int(np.random.SeedSequence([seed, episode, 1]).generate_state(1)[0])
