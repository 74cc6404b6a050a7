import numpy as np
import pytest
from scipy import stats

from pad import statistics
from pad.statistics import (
    Interval,
    aggregate,
    compare_returns,
    interquartile_mean,
    mean_interval,
    performance_profile,
    probability_of_improvement,
    stratified_mean,
)

SCORES = [np.array([1.0, 5.0, 9.0]), np.array([2.0, 4.0, 6.0, 8.0, 100.0])]


def scores(seed: int, runs: int = 10, tasks: int = 3, mean: float = 0.5) -> np.ndarray:
    """Runs by tasks, between 0 and 1."""
    return np.random.default_rng(seed).normal(mean, 0.2, (runs, tasks)).clip(0, 1)


def test_the_deviation_over_seeds_is_that_of_their_means_and_needs_two():
    seeds = [np.array([0.0, 20.0]), np.array([30.0, 10.0]), np.array([30.0])]
    assert statistics.standard_deviation_over_seeds(seeds) == pytest.approx(10)
    assert statistics.standard_deviation_over_seeds(seeds[:1]) is None


def test_the_interquartile_mean_ignores_the_best_and_the_worst_quarter():
    assert interquartile_mean(SCORES) == pytest.approx((4 + 5 + 6 + 8) / 4)


def test_the_probability_of_improvement_is_that_of_mann_and_whitney_with_ties_as_half():
    x, y = np.random.default_rng(0).integers(5, size=(2, 30)).astype(float)
    expected = stats.mannwhitneyu(x, y, alternative="greater").statistic / 900
    assert probability_of_improvement([x], [y]) == pytest.approx(expected)
    assert probability_of_improvement([x], [x]) == pytest.approx(0.5)
    assert probability_of_improvement([x, x], [x - 10, x]) == pytest.approx(0.75)


def test_a_profile_falls_from_all_scores_to_none_and_counts_each_task_alike():
    profile = performance_profile(SCORES, np.array([0.0, 5.0, 100.0]))
    assert profile.tolist() == pytest.approx([1, (1 / 3 + 3 / 5) / 2, 0])


def test_the_bootstrap_stays_within_strata_of_any_size():
    strata = [np.array([1.0]), np.array([10.0, 10.0, 10.0]), np.array([100.0, 100.0])]
    drawn = []

    def spy(sample):
        drawn.extend(sample)
        return interquartile_mean(sample)

    low, high = statistics.stratified_bootstrap(spy, strata, resamples=50)
    assert [stratum.shape for stratum in drawn] == [(50, 1), (50, 3), (50, 2)]
    assert [set(np.unique(stratum)) for stratum in drawn] == [{1.0}, {10.0}, {100.0}]
    assert low == high == pytest.approx(interquartile_mean(strata))


def test_an_interval_is_the_same_each_time_and_holds_the_number():
    first, again = (aggregate(interquartile_mean, SCORES) for _ in range(2))
    assert first == again
    assert first.low < first.mean < first.high


def test_the_bootstrap_covers_what_it_claims():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        interval = aggregate(interquartile_mean, [rng.normal(5, 2, 20), rng.normal(5, 2, 20)])
        covered += interval.low <= 5 <= interval.high
    assert 86 <= covered <= 99


def test_the_mean_of_a_single_stratum_agrees_with_the_interval_of_a_mean():
    sample = np.random.default_rng(0).normal(0, 10, 60)
    ours = aggregate(lambda strata: np.asarray(strata[0].mean(axis=-1)), [sample])
    reference = mean_interval(sample)
    assert ours.mean == reference.mean
    assert (ours.low, ours.high) == pytest.approx((reference.low, reference.high), abs=0.5)


def test_agents_are_compared_each_by_itself_before_they_are_taken_together():
    rng = np.random.default_rng(0)
    frozen = [rng.normal(900, 5, 20), rng.normal(300, 5, 30)]
    frozen[0][:2] = 100.0
    adapted = [frozen[0] + 1, frozen[1] + 101]
    adapted[1][:3] = 100.0
    found = statistics.compare_strata(frozen, adapted)
    assert (found.won, found.lost, found.tied) == (47, 3, 0)
    assert found.regret == pytest.approx((frozen[1][:3] - 100).sum() / 50)
    # By half of its own agent's mean, not of both's: the second agent's 300 are none.
    assert (found.catastrophes.count, found.frozen_catastrophes.count) == (5, 2)
    assert found.catastrophes.bound == pytest.approx(stats.binomtest(5, 50).proportion_ci().high)
    assert found.difference.mean == pytest.approx(np.mean(np.concatenate(adapted)) - np.mean(np.concatenate(frozen)))
    steady = statistics.compare_strata(frozen, [frozen[0] + 1, frozen[1] + 101]).difference
    assert steady.low == pytest.approx(61)
    assert steady.high == pytest.approx(61)


def test_an_agent_without_anything_to_lose_adds_no_catastrophes():
    nothing, something = np.full(5, 10.0), np.array([100.0, 100.0, 10.0])
    assert statistics.compare_strata([nothing], [nothing]).catastrophes is None
    assert statistics.compare_strata([nothing, something], [nothing, something]).catastrophes.rate == 1 / 3


def test_return_over_time_ends_at_the_return_and_keeps_it_after_an_early_end():
    curves = statistics.return_over_time([[1.0, 1.0, 1.0, 1.0], [3.0, 3.0]], points=4)
    assert curves[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert curves[:, 1].tolist() == [0, 3, 6, 6, 6]


def test_the_gain_over_time_is_paired_and_ends_at_the_difference_of_the_comparison():
    rng = np.random.default_rng(0)
    frozen = rng.uniform(0, 1, (8, 40)) * np.arange(1, 9)[:, None]
    adapted = frozen + np.linspace(0, 0.1, 40)
    gain = statistics.gain_over_time([frozen.tolist()], [adapted.tolist()], points=20)
    assert (gain.at[0], gain.at[-1], gain.value[0]) == (0, 1, 0)
    expected = compare_returns(frozen.sum(1).tolist(), adapted.sum(1).tolist()).difference
    assert gain.value[-1] == pytest.approx(expected.mean)
    assert gain.high[-1] - gain.low[-1] < 1e-9  # the same gain in every episode
    assert gain.value[10] < gain.value[-1] / 2


def test_a_gain_without_partners_is_refused():
    with pytest.raises(ValueError, match="2 adapted and 1 frozen"):
        statistics.gain_over_time([[[1.0]]], [[[1.0], [2.0]]])


def test_aggregates_equal_those_of_rliable():
    library = pytest.importorskip("rliable.library")
    metrics = pytest.importorskip("rliable.metrics")
    x, y = scores(0, mean=0.6), scores(1)
    thresholds = np.linspace(0, 1, 21)
    theirs, intervals = library.get_interval_estimates(
        {"x": x},
        lambda sample: np.array([metrics.aggregate_iqm(sample)]),
        reps=2_000,
        random_state=np.random.RandomState(0),
    )
    ours = aggregate(interquartile_mean, list(x.T))
    assert ours.mean == pytest.approx(theirs["x"][0])
    assert (ours.low, ours.high) == pytest.approx(intervals["x"].ravel(), abs=0.01)

    theirs, intervals = library.get_interval_estimates(
        {"x,y": (x, y)}, metrics.probability_of_improvement, reps=1_000, random_state=np.random.RandomState(0)
    )
    ours = aggregate(probability_of_improvement, list(x.T), list(y.T))
    assert ours.mean == pytest.approx(float(theirs["x,y"]))
    assert (ours.low, ours.high) == pytest.approx(intervals["x,y"].ravel(), abs=0.03)

    profiles, intervals = library.create_performance_profile({"x": x}, thresholds, reps=500)
    band = statistics.profile_band(list(x.T), thresholds)
    assert band.value == pytest.approx(profiles["x"])
    assert np.stack([band.low, band.high]) == pytest.approx(intervals["x"], abs=0.07)


def test_a_mean_over_groups_counts_each_group_alike_however_many_agents_it_has():
    one, other = [np.array([10.0, 10.0])], [np.array([0.0, 0.0]), np.array([4.0, 4.0])]
    for fixed in (True, False):
        assert statistics.mean_over_groups([one, other], fixed).mean == pytest.approx(6)


def test_groups_that_differ_widen_the_interval_only_where_others_are_asked_for():
    groups = [[np.array([value, value])] for value in (0.0, 10.0, 20.0)]
    fixed, drawn = (statistics.mean_over_groups(groups, fixed) for fixed in (True, False))
    assert fixed.low == fixed.mean == fixed.high == pytest.approx(10)
    assert drawn.low < 5 < 15 < drawn.high
    assert drawn == statistics.mean_over_groups(groups, fixed=False)


@pytest.mark.parametrize("count", [6, 12])
def test_the_mean_over_groups_covers_what_it_claims_however_few_they_are(count):
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        groups = [[rng.normal(5 + offset, 1, 20)] for offset in rng.normal(0, 3, count)]
        interval = statistics.mean_over_groups(groups, fixed=False)
        covered += interval.low <= 5 <= interval.high
    assert 181 <= covered <= 199


def test_one_group_says_nothing_of_others():
    interval = statistics.mean_over_groups([[np.array([1.0, 3.0])]], fixed=False)
    assert (interval.mean, interval.low, interval.high) == (2, -np.inf, np.inf)


def test_a_thousand_episodes_are_compared_in_little_memory():
    import tracemalloc

    x, y = np.random.default_rng(0).integers(5, size=(2, 50, 1000)).astype(float)
    tracemalloc.start()
    found = probability_of_improvement([x], [y])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6
    expected = [stats.mannwhitneyu(a, b, alternative="greater").statistic / 1e6 for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(("episodes", "strata"), [(2, 3), (5, 1), (5, 3), (10, 1), (12, 2)])
def test_the_interval_of_a_mean_over_few_episodes_of_several_agents_is_wide_enough(episodes, strata):
    rng = np.random.default_rng(0)
    levels = np.arange(strata)[:, None] * 100.0
    held = 0
    for _ in range(400):
        found = stratified_mean(list(levels + rng.normal(0, 10, (strata, episodes))))
        held += found.low <= levels.mean() <= found.high
    assert held > 0.92 * 400


@pytest.mark.parametrize("episodes", [2, 3, 5, 10])
def test_the_mean_over_fixed_groups_covers_what_it_claims_however_few_episodes_they_have(episodes):
    rng = np.random.default_rng(0)
    levels = np.arange(9) * 100.0
    held = 0
    for _ in range(300):
        groups = [[level + rng.normal(0, 10, episodes)] for level in levels]
        found = statistics.mean_over_groups(groups, fixed=True)
        held += found.low <= levels.mean() <= found.high
    assert 0.92 * 300 < held < 0.99 * 300
    assert not np.isfinite(statistics.mean_over_groups([[np.array([3.0])], [np.array([5.0, 6.0])]], fixed=True).low)


def test_a_single_episode_of_an_agent_says_nothing_of_the_others():
    found = stratified_mean([np.array([3.0]), np.array([5.0, 6.0])])
    assert not np.isfinite(found.low)
    assert stratified_mean([np.array([3.0, 3.0]), np.array([5.0, 5.0])]).low == 4


def test_the_comparison_is_paired():
    comparison = compare_returns([100.0, 500.0, 900.0, 300.0], [110.0, 511.0, 909.0, 308.0])
    assert comparison.difference.mean == pytest.approx(9.5)
    assert comparison.difference.low > 0
    assert comparison.difference.high - comparison.difference.low < 15 < comparison.frozen.high - comparison.frozen.low
    assert (comparison.won, comparison.lost, comparison.tied) == (4, 0, 0)


def test_regret_is_what_was_lost_where_it_was_lost():
    comparison = compare_returns([100.0, 100.0, 100.0, 100.0], [60.0, 180.0, 100.0, 80.0])
    assert comparison.regret == pytest.approx((40 + 20) / 4)
    assert (comparison.won, comparison.lost, comparison.tied) == (1, 2, 1)


def test_catastrophes_are_counted_below_half_the_frozen_mean_with_an_upper_bound():
    comparison = compare_returns([500.0, 900.0, 400.0, 200.0], [249.0, 251.0, 900.0, 600.0])
    assert (comparison.catastrophes.count, comparison.catastrophes.rate) == (1, 0.25)
    assert comparison.frozen_catastrophes.count == 1
    # Of n trials without one, the bound is 1 - 0.025^(1/n).
    safe = compare_returns([500.0] * 30, [500.0] * 30).catastrophes
    assert safe.count == 0
    assert safe.bound == pytest.approx(1 - 0.025 ** (1 / 30))


def test_where_the_frozen_policy_fails_too_there_is_nothing_to_lose():
    comparison = compare_returns([50.0, 40.0], [0.0, 0.0])
    assert comparison.catastrophes is None
    assert comparison.format_catastrophes() == "–"


def test_an_interval_covers_the_mean_and_collapses_for_equal_values():
    rng = np.random.default_rng(1)
    covered = [
        interval.low <= 5 <= interval.high
        for interval in (mean_interval(rng.normal(5, 2, 30).tolist()) for _ in range(100))
    ]
    assert sum(covered) >= 88
    assert mean_interval([3.0, 3.0]) == mean_interval([3.0])
    nearly = [847.3] * 9 + [np.nextafter(847.3, 900)]
    assert mean_interval(nearly).format() == "847 [847, 847]"


@pytest.mark.parametrize("count", [2, 3, 5, 9, 10, 15, 29])
def test_an_interval_of_few_values_covers_the_mean_as_often_as_it_says(count):
    rng = np.random.default_rng(1)
    intervals = [mean_interval(rng.normal(5, 2, count)) for _ in range(400)]
    assert 0.92 <= np.mean([interval.low <= 5 <= interval.high for interval in intervals]) <= 0.98


def test_an_interval_shows_as_many_digits_as_asked_for_and_never_minus_zero():
    assert Interval(-0.004, -0.0449, 0.126).format("+", 2) == "+0.00 [-0.04, +0.13]"
    assert Interval(-0.3, -1.2, 846.6).format() == "0 [-1, 847]"


def test_an_aggregate_over_single_scores_has_no_interval():
    found = statistics.aggregate(statistics.interquartile_mean, [np.array([3.0]), np.array([5.0, 6.0])])
    assert found.mean == pytest.approx(14 / 3)
    assert not np.isfinite([found.low, found.high]).any()
