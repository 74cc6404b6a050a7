"""A critic on state beside an actor on pixels."""

import dataclasses
from copy import deepcopy

import pytest
import torch
from conftest import make_agent

from pad.asymmetric import AsymmetricSAC
from pad.sac import SACConfig


@pytest.fixture
def privileged(batch):
    """The batch, with states."""
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(2, 8, 4, generator=generator)
    return dataclasses.replace(batch, extras={"state": states[0], "next_state": states[1]})


def moved(module, before) -> set[str]:
    return {name.split(".")[0] for name, value in module.state_dict().items() if not value.equal(before[name])}


def snapshot(module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_the_actor_trains_the_encoder_and_the_critic_does_not(privileged):
    agent = make_agent(critic=False)
    sac = AsymmetricSAC(agent, 4, SACConfig(actor_every=2))
    before = snapshot(agent)
    sac.update(privileged)
    assert moved(agent, before) == {"encoder", "control", "actor"}
    before = snapshot(agent)
    assert "actor_loss" not in sac.update(privileged)
    assert not moved(agent, before)
    assert "inverse_dynamics_loss" in sac.update(privileged, self_supervise=True)
    assert moved(agent, before) == {"encoder", "control", "actor", "inverse_dynamics"}


@pytest.mark.parametrize(("every", "expected"), [(1, 20), (2, 20), (3, 13), (4, 10)])
def test_self_supervision_waits_for_the_actors_turn_and_is_never_forgotten(privileged, every, expected):
    sac = AsymmetricSAC(make_agent(critic=False), 4, SACConfig(actor_every=2))
    made = [sac.update(privileged, self_supervise=number % every == 0) for number in range(40)]
    assert sum("inverse_dynamics_loss" in metrics for metrics in made) == expected


def test_the_critic_learns_the_value_from_the_state_alone(privileged):
    sac = AsymmetricSAC(make_agent(critic=False), 4, SACConfig(discount=0.0))
    first = sac.update(privileged)["critic_loss"]
    for _ in range(100):
        last = sac.update(privileged)["critic_loss"]
    assert last < first / 4


def test_the_actor_learns_on_augmented_observations_too(privileged):
    """The gradient is that of the equation on both halves."""
    sac, augmented = AsymmetricSAC(make_agent(critic=False), 4, SACConfig()), 255 - privileged.obs
    twin, critic, state = make_agent(critic=False), sac.critic, privileged.extras["state"]
    torch.manual_seed(0)
    policy = twin.actor.sample(twin.features(torch.cat([privileged.obs, augmented])))
    q1, q2 = critic(torch.cat([state, state]), policy.action)
    halves = [(0.1 * policy.log_prob[part] - q1.minimum(q2)[part]).mean() for part in (slice(0, 8), slice(8, 16))]
    (0.5 * halves[0] + 0.5 * halves[1]).backward()
    torch.manual_seed(0)
    metrics = sac._update_actor(privileged, False, augmented)
    assert metrics["actor_loss"] == pytest.approx((0.5 * halves[0] + 0.5 * halves[1]).item(), rel=1e-4)
    for name in ("encoder", "actor"):
        for found, expected in zip(
            getattr(sac.agent, name).parameters(), getattr(twin, name).parameters(), strict=True
        ):
            if expected.grad is not None and found.requires_grad:
                torch.testing.assert_close(found.grad, expected.grad, rtol=1e-3, atol=1e-5)


def test_an_update_that_fails_leaves_a_critic_that_still_learns(privileged, monkeypatch):
    sac = AsymmetricSAC(make_agent(critic=False), 4, SACConfig())

    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("pad.losses.actor_loss", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        sac.update(privileged)
    assert all(parameter.requires_grad for parameter in sac.critic.parameters())


def test_a_restored_learner_goes_on_as_if_never_stopped(privileged):
    def learner(seed):
        torch.manual_seed(seed)
        return AsymmetricSAC(make_agent(seed, critic=False), 4, SACConfig())

    unbroken, other = learner(0), learner(1)
    unbroken.update(privileged)
    other.agent.load_state_dict(unbroken.agent.state_dict())
    other.load_state_dict(deepcopy(unbroken.state_dict()))
    for sac in (unbroken, other):
        torch.manual_seed(7)
        for _ in range(3):
            sac.update(privileged)
    for name, value in unbroken.agent.state_dict().items():
        assert value.equal(other.agent.state_dict()[name]), name
