import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from test_guards import LEARNING, guarded, scene, spoil, transitions

from pad.deployment import NO_GUARDS, AdaptivePolicy
from pad.deployment.guards import DriftGuard


def test_what_is_pulled_back_within_the_budget_is_not_held():
    weights = [torch.tensor([1.8])]
    assert not DriftGuard([torch.tensor([1.0])], budget=0.5, pull=0.5).hold(weights)
    assert weights[0].item() == pytest.approx(1.4)


@pytest.mark.parametrize(("used", "exploded"), [(1.4, 0), (1.6, 1)])
def test_only_what_is_worse_by_the_factor_is_given_up(agent, used, exploded):
    policy = AdaptivePolicy(agent, guarded(explosion=1.5))
    learner = policy._learner
    first, *others = transitions(6)
    policy.observe(*first)
    learner._loss_between, learner._loss_under = lambda *_: used, lambda *_: 1.0
    learner._learn = lambda: {"updates": 0}
    for transition in others:
        policy.observe(*transition)
    assert policy.counts.get("failed_explosion", 0) == exploded


def test_who_begins_anew_is_not_judged_by_what_was_given_up(agent):
    policy = AdaptivePolicy(agent, guarded(explosion=1.5))
    learner, losses = policy._learner, iter([10.0] + [1.0] * 20)
    learner._loss_under = lambda *_: 1.0
    between = learner._loss_between
    learner._loss_between = lambda *a: next(losses) if learner._comparison_due() else between(*a)
    for transition in transitions(20):
        policy.observe(*transition)
    assert policy.counts["failed_explosion"] == 1


def test_weights_in_use_that_are_no_numbers_are_left_for_the_trained_ones(agent):
    policy = AdaptivePolicy(agent, LEARNING)
    learner = policy._learner
    learner._use(tuple(torch.full_like(w, math.nan) for w in learner.trained))
    learner._fail("not_finite")
    assert (policy.act(scene()) == agent.act(scene())).all()


def test_the_average_is_that_of_its_equation(agent):
    policy = AdaptivePolicy(agent, guarded(average=0.9))
    learner, expected = policy._learner, None
    for transition in transitions(5):
        policy.observe(*transition)
        now = [w.clone() for w in learner.online]
        expected = now if expected is None else [0.9 * e + 0.1 * n for e, n in zip(expected, now, strict=True)]
        for used, e in zip(learner.weights, expected, strict=True):
            torch.testing.assert_close(used, e)


def test_an_average_goes_on_after_a_restart(agent, tmp_path):
    config = dataclasses.replace(LEARNING, reset="never", guards=dataclasses.replace(NO_GUARDS, average=0.9))
    first, second = AdaptivePolicy(agent, config), AdaptivePolicy(agent, config)
    for transition in transitions(5):
        first.observe(*transition)
    first.save(tmp_path / "state")
    second.load(tmp_path / "state")
    for name, value in first.snapshot()["averaged"].items():
        assert second.snapshot()["averaged"][name].equal(value)
        assert not value.equal(first.snapshot()["online"][name])


def test_of_several_updates_the_last_weights_act(agent):
    policy = AdaptivePolicy(agent, dataclasses.replace(LEARNING, updates=3))
    assert policy.observe(*next(transitions(1)))["updates"] == 3
    for used, learned in zip(policy._learner.weights, policy._learner.online, strict=True):
        assert used.equal(learned)


@pytest.mark.parametrize("guards", [{}, {"trial": 1}])
def test_failures_with_good_updates_between_them_end_nothing(agent, guards):
    policy = AdaptivePolicy(agent, guarded(failures=2, **guards))
    if guards:
        policy._learner._trial.add = lambda *_: "accepted"
    loss, calls = policy._learner.model.loss, []

    def every_third(*arguments):
        calls.append(1)
        return loss(*arguments) * (math.nan if len(calls) % 3 == 0 else 1.0)

    policy._learner.model.loss = every_third
    for transition in transitions(15):
        policy.observe(*transition)
    assert policy.counts["failed_not_finite"] > 2
    assert policy.report()["given_up"] == 0


def test_restore_forgets_failures(agent):
    policy = AdaptivePolicy(agent, guarded(failures=2))
    for _ in range(3):
        plain = policy._learner.model.loss
        spoil(policy, 1)
        policy.observe(*next(transitions(1)))
        policy._learner.model.loss = plain
        assert policy.report()["given_up"] == 0
        policy.restore()


@pytest.mark.filterwarnings("ignore:adaptation failed repeatedly")
def test_who_has_given_up_acts_with_the_trained_weights(agent):
    policy = AdaptivePolicy(agent, guarded(failures=2))
    stream = list(transitions(6))
    for transition in stream[:3]:
        policy.observe(*transition)
    assert policy.report()["drift"] > 0
    spoil(policy, 2)
    for transition in stream[3:]:
        policy.observe(*transition)
    assert policy.report()["given_up"] == 1
    assert policy.report()["drift"] == 0
    assert (policy.act(scene()) == agent.act(scene())).all()


def test_a_snapshot_that_holds_no_numbers_is_refused(agent):
    policy = AdaptivePolicy(agent, LEARNING)
    policy.observe(*next(transitions(1)))
    before, broken = policy.snapshot(), policy.snapshot()
    next(iter(broken["weights"].values())).fill_(math.nan)
    with pytest.raises(ValueError, match="NaN or infinite"):
        policy.restore(broken)
    assert all(v.equal(before["weights"][n]) for n, v in policy.snapshot()["weights"].items())


def test_loading_what_the_next_reset_forgets_is_warned_of(agent, tmp_path):
    policy = AdaptivePolicy(agent, LEARNING)
    policy.observe(*next(transitions(1)))
    policy.save(tmp_path / "state")
    with pytest.warns(RuntimeWarning, match="next reset"):
        policy.load(tmp_path / "state")
    keeps = AdaptivePolicy(agent, dataclasses.replace(LEARNING, reset="never"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keeps.load(tmp_path / "state")


def test_an_action_may_be_out_of_range_by_as_much_as_the_range(agent):
    obs, _, next_obs = next(transitions(1))
    assert AdaptivePolicy(agent, LEARNING).observe(obs, np.full(2, 2.9, np.float32), next_obs)["updates"] == 1
    with pytest.raises(ValueError, match="clip it"):
        AdaptivePolicy(agent, LEARNING).observe(obs, np.full(2, 3.1, np.float32), next_obs)
