"""The learner against a plain implementation of the same equations."""

import dataclasses
import itertools
from copy import deepcopy

import pytest
import torch
from conftest import SMALL, inverse_dynamics_loss_on, make_agent
from plain import PlainLearner

from pad import precision as formats
from pad.expert import Expert
from pad.sac import SAC, SACConfig


def moved(agent, before) -> set[str]:
    return {name for name, value in agent.state_dict().items() if not value.equal(before[name])}


def snapshot(module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("self_supervise", [True, False])
@pytest.mark.parametrize("own_layers", [0, 1])
def test_an_update_equals_the_equations_written_out_with_every_loss_encoding_for_itself(
    batch, self_supervise, own_layers
):
    encoder = dataclasses.replace(SMALL.encoder, shared_layers=3 - own_layers)
    agent = make_agent(config=dataclasses.replace(SMALL, encoder=encoder))
    sac = SAC(agent, 2, SACConfig(initial_temperature=0.3, discount=0.9))
    with torch.no_grad():
        for parameter in sac.target_networks.parameters():
            parameter.add_(0.01)  # a target that differs from the networks
    plain = PlainLearner(agent, sac)
    for learn in (
        lambda: plain.update(batch, self_supervise, update_actor=True),
        lambda: sac.update(batch, self_supervise),
    ):
        torch.manual_seed(5)
        learn()
    for (name, ours), theirs in zip(agent.named_parameters(), plain.networks.agent.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=name)
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4, msg=name)


def test_half_precision_convolutions_give_nearly_the_same_gradients(agent, batch):
    twin = make_agent()
    for each, precision in ((agent, "float32"), (twin, "bfloat16")):
        torch.manual_seed(5)
        SAC(each, 2, SACConfig(), precision).update(batch, self_supervise=True)
    for (name, full), half in zip(agent.named_parameters(), twin.parameters(), strict=True):
        assert half.dtype == torch.float32
        if full.grad is not None:
            error = (half.grad - full.grad).norm() / full.grad.norm().clamp(min=1e-6)
            assert error < 0.5, name  # those of another batch differ by more than their size


def test_the_critic_trains_the_encoder_and_the_actor_does_not(agent, batch):
    sac = SAC(agent, 2, SACConfig(actor_every=2))
    before = snapshot(agent)
    sac._update_actor(agent.features(batch.obs).detach())
    assert moved(agent, before)
    assert all(name.startswith("actor.") for name in moved(agent, before))

    sac.update(batch)
    before = snapshot(agent)
    sac.update(batch)  # the second update is the critic's alone
    names = moved(agent, before)
    assert {name.split(".")[0] for name in names} == {"encoder", "control", "critic"}
    assert not {"encoder.color_matrix", "encoder.color_offset"} & names


def test_inverse_dynamics_is_trained_beside_the_critic_when_asked(agent, batch):
    sac = SAC(agent, 2, SACConfig(actor_every=2))
    sac.update(batch)
    before = snapshot(agent)
    sac.update(batch, self_supervise=True)
    assert {name.split(".")[0] for name in moved(agent, before)} == {"encoder", "control", "critic", "inverse_dynamics"}


def test_actor_and_targets_move_every_second_update(agent, batch):
    sac = SAC(agent, 2, SACConfig(actor_every=2))
    assert "actor_loss" in sac.update(batch)
    target = snapshot(sac.target_networks)
    assert "actor_loss" not in sac.update(batch)
    assert not moved(sac.target_networks, target)
    sac.update(batch)
    assert moved(sac.target_networks, target)


def test_encoder_and_critic_targets_follow_at_their_own_pace(agent):
    sac = SAC(agent, 2, SACConfig(critic_tau=0.01, encoder_tau=0.05))
    before = snapshot(sac.target_networks)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(1.0)
    sac._update_target()
    change = {name: (value - before[name]).mean().item() for name, value in sac.target_networks.state_dict().items()}
    assert change["encoder.convolutions.0.weight"] == pytest.approx(0.05, rel=1e-3)
    assert change["critic.projection.0.weight"] == pytest.approx(0.05, rel=1e-3)
    assert change["critic.q1.0.weight"] == pytest.approx(0.01, rel=1e-3)


def test_q_learns_from_augmented_observations_towards_the_value_of_clean_ones(batch):
    agent, twin = make_agent(), make_agent()
    augmented = 255 - batch.obs
    sac, other = (SAC(each, 2, SACConfig()) for each in (agent, twin))
    torch.manual_seed(5)
    target = sac.td_target(batch, agent.features(batch.next_obs))
    features = agent.features(torch.cat([batch.obs, augmented]))
    q1, q2 = agent.critic(features, batch.action.repeat(2, 1))
    halves = [sum(((q[part] - target) ** 2).mean() for q in (q1, q2)) for part in (slice(0, 8), slice(8, 16))]
    (0.5 * halves[0] + 0.5 * halves[1]).backward()
    torch.manual_seed(5)
    metrics = other.update(batch, augmented=augmented)
    assert metrics["critic_loss"] == pytest.approx((0.5 * halves[0] + 0.5 * halves[1]).item(), rel=1e-4)
    expected = agent.encoder.convolutions[0].weight.grad
    torch.testing.assert_close(twin.encoder.convolutions[0].weight.grad, expected, rtol=1e-3, atol=1e-5)


def test_inverse_dynamics_learns_what_it_is_shown(agent, batch):
    sac, first = SAC(agent, 2, SACConfig()), inverse_dynamics_loss_on(agent, batch).item()
    for _ in range(100):
        sac.update(batch, self_supervise=True)
    assert inverse_dynamics_loss_on(agent, batch).item() < first / 4


def test_a_restored_learner_goes_on_as_if_never_stopped(batch):
    def learner(seed: int):
        agent = make_agent(seed)
        return agent, SAC(agent, 2, SACConfig())

    agent, sac = learner(0)
    for _ in range(3):
        sac.update(batch)
    weights, state = snapshot(agent), deepcopy(sac.state_dict())
    other_agent, other = learner(1)
    other_agent.load_state_dict(weights)
    other.load_state_dict(state)
    for each in (sac, other):
        torch.manual_seed(7)
        each.update(batch)
        each.update(batch)
    assert not moved(agent, snapshot(other_agent))


def test_a_cloned_agent_cannot_be_trained_further_without_a_critic():
    with pytest.raises(ValueError, match="needs an agent with a critic"):
        SAC(make_agent(critic=False), 2, SACConfig())


def test_the_expert_learns_on_states(batch):
    torch.manual_seed(0)
    expert = Expert(4, 2, 16)
    states = dataclasses.replace(batch, obs=torch.randn(8, 4), next_obs=torch.randn(8, 4))
    sac, before = SAC(expert, 2, SACConfig(actor_every=1)), snapshot(expert)
    metrics = [sac.update(states) for _ in range(50)]
    assert metrics[-1]["critic_loss"] < metrics[0]["critic_loss"]
    assert {name.split(".")[0] for name in moved(expert, before)} == {"actor", "critic"}


@pytest.mark.parametrize(("bfloat16", "expected"), [(0.7, "bfloat16"), (0.9, "float32")])
def test_the_faster_format_is_found_on_a_machine_that_becomes_slow_meanwhile(monkeypatch, bfloat16, expected):
    clock = itertools.count(1)

    def trial(device: str, enabled: bool) -> float:
        # Each takes longer than the one before, as beside other work that has just begun.
        return (bfloat16 if enabled else 1.0) * (1 + 0.05 * next(clock))

    monkeypatch.setattr(formats, "_trial", trial)
    formats._bfloat16_is_faster.cache_clear()
    assert formats.resolve("auto", "cpu") == expected
    formats._bfloat16_is_faster.cache_clear()
