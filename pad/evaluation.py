"""Episodes, one at a time or frozen and adapting side by side, and what their returns say."""

import time
import warnings
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import gymnasium as gym
import numpy as np
from scipy import stats

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


_FEW = 10
"""Fewer values than this say too little of their distribution to be drawn from again."""


@dataclass(frozen=True)
class Interval:
    """A mean, or another number of that kind, with its 95 % interval over episodes."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return self.format()

    def format(self, sign: str = "", digits: int = 0) -> str:
        """Rounded, as `mean [low, high]`; with sign "+" also where it is positive. Without bounds the mean alone."""
        numbers = (round(number, digits) + 0.0 for number in (self.mean, self.low, self.high))  # never -0
        mean, low, high = (f"{number:{sign}.{digits}f}" for number in numbers)
        return f"{mean} [{low}, {high}]" if np.isfinite([self.low, self.high]).all() else mean


def format_change(before: Interval, after: Interval, difference: Interval) -> str:
    """Two means and how far they are apart, as `before → after (difference [low, high])`."""
    return f"{before.mean:.0f} → {after.mean:.0f} ({difference.format('+')})"


def mean_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Mean and its 95 % interval, always the same for the same values.

    From ten values on the bias-corrected bootstrap's (Efron, 1987), which is too narrow for fewer: there Student's t. A
    single value, and values that are all alike but for the rounding of their sums, have no width.
    """
    sample = np.asarray(values, float)
    mean = float(sample.mean())
    if len(sample) < 2 or np.ptp(sample) <= 1e-9 * max(1.0, abs(mean)):
        return Interval(mean, mean, mean)
    if len(sample) < _FEW:
        low, high = stats.t.interval(0.95, len(sample) - 1, mean, stats.sem(sample))
        return Interval(mean, float(low), float(high))
    result = stats.bootstrap((sample,), np.mean, n_resamples=9_999, rng=np.random.default_rng(0))
    return Interval(mean, float(result.confidence_interval.low), float(result.confidence_interval.high))


@dataclass(frozen=True)
class Catastrophes:
    """Episodes whose return is below half the frozen policy's mean."""

    count: int
    rate: float
    bound: float
    """Upper end of the rate's 95 % interval (Clopper and Pearson, 1934)."""

    @classmethod
    def of(cls, count: int, episodes: int) -> "Catastrophes":
        """So many among so many episodes."""
        bound = stats.binomtest(count, episodes).proportion_ci(0.95, "exact").high
        return cls(count, count / episodes, float(bound))

    @classmethod
    def among(cls, returns: np.ndarray, frozen_mean: float) -> "Catastrophes | None":
        """None where the frozen mean is 50 or less, and there is nothing to lose."""
        if frozen_mean <= 50:
            return None
        return cls.of(int((returns < frozen_mean / 2).sum()), len(returns))

    def __str__(self) -> str:
        return f"{self.count} (≤ {100 * self.bound:.0f} %)"


@dataclass(frozen=True)
class Comparison:
    """Frozen against adapted on the same episodes."""

    frozen: Interval
    adapted: Interval
    difference: Interval
    """Adapted minus frozen, episode by episode."""
    won: int
    lost: int
    tied: int
    regret: float
    """What adaptation lost where it lost, averaged over all episodes."""
    catastrophes: Catastrophes | None
    """Of the adapting policy."""
    frozen_catastrophes: Catastrophes | None
    """Of the frozen policy, by the same measure: what is not adaptation's doing."""

    def format_catastrophes(self) -> str:
        """Those of the adapting policy with their bound, and the number of the frozen one's."""
        if self.catastrophes is None or self.frozen_catastrophes is None:
            return "–"
        return f"{self.catastrophes}, frozen {self.frozen_catastrophes.count}"


def compare(frozen: Sequence[Episode], adapted: Sequence[Episode]) -> Comparison:
    """Paired statistics.

    Raises:
        ValueError: when the two arms did not meet the same episodes.
    """
    if [episode.seed for episode in frozen] != [episode.seed for episode in adapted]:
        raise ValueError("frozen and adapted must be the same episodes in the same order")
    before, after = ([episode.episode_return for episode in arm] for arm in (frozen, adapted))
    return compare_returns(before, after)


def compare_returns(frozen: Sequence[float] | np.ndarray, adapted: Sequence[float] | np.ndarray) -> Comparison:
    """Paired statistics of the returns of the same episodes in the same order."""
    before, after = np.asarray(frozen, float), np.asarray(adapted, float)
    return Comparison(
        mean_interval(before),
        mean_interval(after),
        mean_interval(after - before),
        won=int((after > before).sum()),
        lost=int((after < before).sum()),
        tied=int((after == before).sum()),
        regret=float(np.maximum(before - after, 0).mean()),
        catastrophes=Catastrophes.among(after, before.mean()),
        frozen_catastrophes=Catastrophes.among(before, before.mean()),
    )


def steps_per_second(episodes: Sequence[Episode]) -> float:
    """Control steps that one process reaches, act, environment and learning together.

    Recorded episodes also render for people, and count only where there are no others.
    """
    return control_rate([(episode.steps, episode.seconds, bool(episode.frames)) for episode in episodes])


def control_rate(timings: Sequence[tuple[int, float, bool]]) -> float:
    """The same of episodes that are no longer there: of each its steps, its seconds, and whether it was recorded."""
    timed = [timing for timing in timings if not timing[2]] or timings
    return sum(steps for steps, _, _ in timed) / max(sum(seconds for _, seconds, _ in timed), 1e-9)
