"""Episodes, one at a time or frozen and adapting side by side; what returns say is in `pad.statistics`."""

import time
import warnings
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import gymnasium as gym
import numpy as np

from pad.statistics import Comparison, compare_returns
from pad.types import Drifting, Policy

LONG = 10_000
"""Decisions of an episode that are worth a warning."""


@dataclass
class Episode:
    """What came of one episode."""

    seed: int
    episode_return: float
    steps: int
    seconds: float
    """Time in the policy and the environment, without making either."""
    rewards: list[float] = field(default_factory=list)
    self_supervised_loss: list[float] = field(default_factory=list)
    """At each step where it was measured: at all of them by a `MeasuredPolicy`, at none by some policies."""
    updates: int = 0
    """Gradient steps that the policy made."""
    guards: Counter[str] = field(default_factory=Counter)
    """How often each guard of an adapting policy acted, by its reason."""
    drift: list[float] = field(default_factory=list)
    """Distance from the trained weights at each step, as a share of these weights' norm; none where the policy does not
    say."""
    frames: list[np.ndarray] = field(default_factory=list, repr=False)
    """Rendered pictures, if they were asked for."""


def run_episode(env: gym.Env, policy: Policy, seed: int, record: bool = False) -> Episode:
    """One undiscounted episode. The loop has no modes: whether the policy learns is its own affair.

    Raises:
        ValueError: for a reward that is no number, or infinite.
    """
    obs, _ = env.reset(seed=seed)
    policy.reset()
    episode = Episode(seed, 0.0, 0, 0.0)
    drifting = policy if isinstance(policy, Drifting) else None
    started, over = time.perf_counter(), False
    while not over:
        if record:
            episode.frames.append(np.asarray(env.render()))
        obs = deepcopy(obs)  # it may be one array that is filled again and again
        action = policy.act(obs)
        next_obs, reward, terminated, truncated, _ = env.step(action)
        metrics = policy.observe(obs, action, next_obs)
        obs, over = next_obs, terminated or truncated
        episode.rewards.append(float(reward))
        if not np.isfinite(episode.rewards[-1]):
            raise ValueError(f"the reward of step {len(episode.rewards)} of the episode of seed {seed} is {reward}")
        warn_of_length(len(episode.rewards))
        episode.updates += int(metrics.get("updates", 0))
        for name, value in metrics.items():
            if name.startswith("guards/"):
                episode.guards[name.removeprefix("guards/")] += int(value)
        if drifting is not None:
            episode.drift.append(drifting.drift)
        if "self_supervised_loss" in metrics:
            episode.self_supervised_loss.append(metrics["self_supervised_loss"])
    episode.seconds = time.perf_counter() - started
    episode.steps = len(episode.rewards)
    episode.episode_return = float(np.sum(episode.rewards))
    return episode


def warn_of_length(decisions: int) -> None:
    """Say once of an episode that is this long already that it may never end."""
    if decisions == LONG:
        warnings.warn(f"an episode is not over after {LONG:,} decisions: does the environment ever end one "
                      "(gymnasium.wrappers.TimeLimit)?", RuntimeWarning, stacklevel=3)  # fmt: skip


def compare(frozen: Sequence[Episode], adapted: Sequence[Episode]) -> Comparison:
    """Paired statistics of episodes that both arms met.

    Raises:
        ValueError: when the two arms did not meet the same episodes.
    """
    if [episode.seed for episode in frozen] != [episode.seed for episode in adapted]:
        raise ValueError("frozen and adapted must be the same episodes in the same order")
    before, after = ([episode.episode_return for episode in arm] for arm in (frozen, adapted))
    return compare_returns(before, after)


def steps_per_second(episodes: Sequence[Episode]) -> float:
    """Control steps that one process reaches, act, environment and learning together.

    Recorded episodes also render for people, and count only where there are no others.
    """
    return control_rate([(episode.steps, episode.seconds, bool(episode.frames)) for episode in episodes])


def control_rate(timings: Sequence[tuple[int, float, bool]]) -> float:
    """Control steps a second as `steps_per_second` counts them, for episodes that are no longer in memory.

    Args:
        timings: of each episode its control steps, its seconds, and whether it was recorded.
    """
    timed = [timing for timing in timings if not timing[2]] or timings
    return sum(steps for steps, _, _ in timed) / max(sum(seconds for _, seconds, _ in timed), 1e-9)
