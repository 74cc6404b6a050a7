"""What returns say: means with intervals, two arms on the same episodes, and aggregates over tasks.

Pure functions on arrays that know neither policies nor files. Aggregates are those of Agarwal et al. (2021): scores
come in strata, one array for each task or cell; whatever is measured runs along an array's last axis, so that all
resamples of a bootstrap are computed at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_FEW = 10
"""Fewer values than this say too little of their distribution to be drawn from again."""
_ENOUGH = 30
"""From so many on a bootstrap's interval needs no correction."""
Strata = Sequence[np.ndarray]
"""Scores of each task or cell; strata may have different sizes."""


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

    From thirty values on the bias-corrected bootstrap's (Efron, 1987). It is too narrow for fewer (nine in ten for ten
    normal values): below thirty it is widened as Student's t is wider than the normal distribution and the variance of
    a sample smaller than its population's, and below ten it is Student's t. A single value, and values that are all
    alike but for the rounding of their sums, have no width.
    """
    sample = np.asarray(values, float)
    mean = float(sample.mean())
    if len(sample) < 2 or np.ptp(sample) <= 1e-9 * max(1.0, abs(mean)):
        return Interval(mean, mean, mean)
    if len(sample) < _FEW:
        low, high = stats.t.interval(0.95, len(sample) - 1, mean, stats.sem(sample))
        return Interval(mean, float(low), float(high))
    found = stats.bootstrap((sample,), np.mean, n_resamples=9_999, rng=np.random.default_rng(0)).confidence_interval
    wider = _small_sample_factor(len(sample))
    return Interval(mean, mean - wider * (mean - float(found.low)), mean + wider * (float(found.high) - mean))


def _small_sample_factor(count: int) -> float:
    """How much too narrow a bootstrap's interval of the mean of so many values is."""
    if count >= _ENOUGH:
        return 1.0
    return float(stats.t.ppf(0.975, count - 1) / stats.norm.ppf(0.975) * np.sqrt(count / (count - 1)))


@dataclass(frozen=True)
class Catastrophes:
    """Episodes whose return is below half the frozen policy's mean."""

    count: int
    rate: float
    bound: float
    """Upper end of the rate's 95 % interval (Clopper and Pearson, 1934)."""

    @classmethod
    def of(cls, count: int, episodes: int) -> "Catastrophes":
        """Make it from the numbers of catastrophes and of episodes."""
        bound = stats.binomtest(count, episodes).proportion_ci(0.95, "exact").high
        return cls(count, count / episodes, float(bound))

    @classmethod
    def among(cls, returns: np.ndarray, frozen_mean: float) -> "Catastrophes | None":
        """Catastrophes among returns; None where the frozen mean is 50 or less, and there is nothing to lose."""
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
    """Catastrophes of the adapting policy."""
    frozen_catastrophes: Catastrophes | None
    """Catastrophes of the frozen policy, by the same measure: what is not adaptation's doing."""

    def format_catastrophes(self) -> str:
        """Catastrophes of the adapting policy with their bound, and the number of the frozen one's."""
        if self.catastrophes is None or self.frozen_catastrophes is None:
            return "–"
        return f"{self.catastrophes}, frozen {self.frozen_catastrophes.count}"


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


@dataclass(frozen=True)
class Band:
    """A curve with the ends of its 95 % interval at each point."""

    at: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def standard_deviation_over_seeds(scores: Strata) -> float | None:
    """Standard deviation of the seeds' mean scores, one stratum each, over n - 1; None for a single seed.

    Papers report it beside a mean over seeds. It tells how seeds differ, not how well their mean is known.
    """
    means = [float(np.mean(seed)) for seed in scores]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None


def mean_score(scores: Strata) -> np.ndarray:
    """Mean of all scores, whatever their stratum."""
    return np.asarray(np.concatenate(scores, axis=-1).mean(axis=-1))


def interquartile_mean(scores: Strata) -> np.ndarray:
    """Mean of the middle half of all scores, whatever their stratum."""
    return np.asarray(stats.trim_mean(np.concatenate(scores, axis=-1), 0.25, axis=-1))


def probability_of_improvement(scores: Strata, base: Strata) -> np.ndarray:
    """Chance that a score drawn from a stratum is above one drawn from its base, a tie being half; mean over strata.

    The statistic of Mann and Whitney (1947) over the number of pairs. Scores are drawn without regard to episodes that
    both arms met; `compare_returns` is the paired view.
    """
    # scipy's mannwhitneyu also computes a p-value, which takes a thousand times as long and is not wanted.
    return np.asarray(np.mean([_chance_above(x, y) for x, y in zip(scores, base, strict=True)], axis=0))


def _chance_above(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.ndim > 1:
        return np.array([_chance_above(*pair) for pair in zip(x, y, strict=True)])
    # By rank: of all pairs at once a thousand episodes would fill the memory.
    ranked = np.sort(y)
    below, not_above = (np.searchsorted(ranked, x, side) for side in ("left", "right"))
    return np.asarray((below + not_above).mean() / (2 * len(y)))


def performance_profile(scores: Strata, thresholds: np.ndarray) -> np.ndarray:
    """Share of scores above each threshold, along the first axis; each stratum counts alike."""
    shares = [[(stratum > tau).mean(axis=-1) for tau in thresholds] for stratum in scores]
    return np.asarray(np.mean(shares, axis=0))


def stratified_bootstrap(
    statistic: Callable[..., np.ndarray], *samples: Strata, resamples: int = 2_000, level: float = 0.95, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the percentile interval of `statistic(*samples)`, always the same for the same scores.

    Every stratum is resampled with replacement by itself, along its last axis. The statistic is called once with
    `resamples` of them along the axis before, which it must leave as its last. scipy's bootstrap would refuse a stratum
    with a single score.
    """
    rng = np.random.default_rng(seed)
    drawn = [[_resample(stratum, resamples, rng) for stratum in sample] for sample in samples]
    outside = (1 - level) / 2
    low, high = np.quantile(statistic(*drawn), [outside, 1 - outside], axis=-1)
    return np.asarray(low), np.asarray(high)


def _resample(stratum: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    size = np.shape(stratum)[-1]
    return np.asarray(stratum)[..., rng.integers(size, size=(resamples, size))]


def aggregate(statistic: Callable[..., np.ndarray], *samples: Strata) -> Interval:
    """A number over strata, such as the interquartile mean, with its stratified bootstrap interval.

    Strata of one score say nothing of how it varies: there the interval has no ends. Few scores in each make it too
    narrow, as bootstraps are.
    """
    if any(np.shape(stratum)[-1] < 2 for sample in samples for stratum in sample):
        return Interval(float(statistic(*samples)), -np.inf, np.inf)
    low, high = stratified_bootstrap(statistic, *samples)
    return Interval(float(statistic(*samples)), float(low), float(high))


def stratified_mean(scores: Strata) -> Interval:
    """Mean of all scores with its 95 % interval, each stratum being resampled by itself.

    The bootstrap is too narrow for a few scores: where a stratum has less than thirty, see `_welch_interval`.
    """
    sizes = np.array([len(stratum) for stratum in scores])
    if sizes.min() >= _ENOUGH:
        return aggregate(mean_score, scores)
    return _welch_interval(scores, sizes / sizes.sum())


def _welch_interval(scores: Strata, weights: np.ndarray) -> Interval:
    """Weighted mean of the strata's means with Student's t on their own variances.

    The degrees of freedom are those of Welch (1947). A stratum of one says nothing of its variance.
    """
    sizes = np.array([len(stratum) for stratum in scores])
    mean = float(np.dot(weights, [np.mean(stratum) for stratum in scores]))
    if sizes.min() < 2:
        return Interval(mean, -np.inf, np.inf)
    parts = weights**2 * np.array([np.var(stratum, ddof=1) for stratum in scores]) / sizes
    if parts.sum() == 0:
        return Interval(mean, mean, mean)
    freedom = parts.sum() ** 2 / (parts**2 / (sizes - 1)).sum()
    low, high = stats.t.interval(0.95, freedom, mean, np.sqrt(parts.sum()))
    return Interval(mean, float(low), float(high))


def compare_strata(frozen: Strata, adapted: Strata) -> Comparison:
    """Paired statistics over several agents, a stratum of episodes for each.

    Intervals resample the episodes of each agent by themselves: agents that differ are no uncertainty of their mean.
    What a catastrophe is, each agent's own frozen mean says.
    """
    each = [compare_returns(before, after) for before, after in zip(frozen, adapted, strict=True)]
    sizes = [len(before) for before in frozen]
    differences = [np.asarray(after) - np.asarray(before) for before, after in zip(frozen, adapted, strict=True)]
    return Comparison(
        stratified_mean(frozen),
        stratified_mean(adapted),
        stratified_mean(differences),
        won=sum(one.won for one in each),
        lost=sum(one.lost for one in each),
        tied=sum(one.tied for one in each),
        regret=float(np.average([one.regret for one in each], weights=sizes)),
        catastrophes=_sum_of([one.catastrophes for one in each], sizes),
        frozen_catastrophes=_sum_of([one.frozen_catastrophes for one in each], sizes),
    )


def _sum_of(found: Sequence[Catastrophes | None], sizes: Sequence[int]) -> Catastrophes | None:
    """Catastrophes summed over the agents that had something to lose."""
    there = [(one.count, size) for one, size in zip(found, sizes, strict=True) if one is not None]
    return Catastrophes.of(sum(count for count, _ in there), sum(size for _, size in there)) if there else None


def profile_band(scores: Strata, thresholds: np.ndarray) -> Band:
    """The performance profile with its pointwise interval."""
    low, high = stratified_bootstrap(lambda drawn: performance_profile(drawn, thresholds), scores, resamples=500)
    return Band(thresholds, performance_profile(scores, thresholds), low, high)


def return_over_time(rewards: Sequence[Sequence[float]], points: int = 50) -> np.ndarray:
    """Return so far by progress through the episode: (points + 1, episodes), the first row 0.

    Progress is a share of the longest episode; one that ended earlier keeps the return that it had.
    """
    longest = max(len(episode) for episode in rewards)
    steps = np.linspace(0, longest, points + 1)
    sums = [np.concatenate([[0.0], np.cumsum(episode)]) for episode in rewards]
    return np.stack([np.interp(steps, np.arange(len(so_far)), so_far) for so_far in sums], axis=-1)


def gain_over_time(
    frozen: Sequence[Sequence[Sequence[float]]], adapted: Sequence[Sequence[Sequence[float]]], points: int = 50
) -> Band:
    """How far the adapted return is ahead of the frozen one by progress, paired by episode; each stratum counts alike.

    Args:
        frozen: rewards by stratum, episode and step.
        adapted: those of the same episodes in the same order.
    """
    differences = [_difference(a, b, points) for a, b in zip(adapted, frozen, strict=True)]
    low, high = stratified_bootstrap(_mean_over_strata, differences, resamples=500)
    return Band(np.linspace(0, 1, points + 1), _mean_over_strata(differences), low, high)


def _difference(adapted: Sequence[Sequence[float]], frozen: Sequence[Sequence[float]], points: int) -> np.ndarray:
    if len(adapted) != len(frozen):
        raise ValueError(f"each episode needs a partner, got {len(adapted)} adapted and {len(frozen)} frozen")
    # Both arms at once: progress must mean the same number of steps in both.
    both = return_over_time([*adapted, *frozen], points)
    return both[:, : len(adapted)] - both[:, len(adapted) :]


def _mean_over_strata(strata: Strata) -> np.ndarray:
    return np.asarray(np.mean([stratum.mean(axis=-1) for stratum in strata], axis=0))


def mean_over_groups(groups: Sequence[Strata], fixed: bool, resamples: int = 2_000, seed: int = 0) -> Interval:
    """Mean over groups of the mean over their strata, such as the agents of tasks, with its 95 % interval.

    Args:
        fixed: whether the mean is of these groups and no others: then their scores are resampled (bootstrap), or, where
            there are few of them, see `_welch_interval`. Else it is the interval of `mean_interval` over the groups'
            means, whose spread holds that of their scores. One group says nothing of others.
    """
    if not fixed:
        means = [float(_mean_over_strata(strata)) for strata in groups]
        return mean_interval(means) if len(means) > 1 else Interval(means[0], -np.inf, np.inf)
    if min(len(stratum) for strata in groups for stratum in strata) < _ENOUGH:
        weights = [1 / (len(groups) * len(strata)) for strata in groups for _ in strata]
        return _welch_interval([stratum for strata in groups for stratum in strata], np.array(weights))
    rng = np.random.default_rng(seed)
    drawn = np.stack([_mean_over_strata([_resample(s, resamples, rng) for s in strata]) for strata in groups])
    low, high = np.quantile(drawn.mean(0), [0.025, 0.975])
    mean = np.mean([_mean_over_strata(strata) for strata in groups])
    return Interval(float(mean), float(low), float(high))
