"""The learner against a plain implementation of the same equations."""

import dataclasses
from copy import deepcopy

import pytest
import torch
from conftest import make_agent

from pad.expert import Expert
from pad.sac import SAC, SACConfig
from pad.self_supervision import SelfSupervision, self_supervised_loss


def moved(agent, before) -> set[str]:
    return {name for name, value in agent.state_dict().items() if not value.equal(before[name])}


def snapshot(module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_the_critic_target_equals_the_equation_written_out(agent, batch):
    sac = SAC(agent, 2, SACConfig(initial_temperature=0.3, discount=0.9))
    for parameter in sac.target.parameters():
        parameter.data.add_(0.01)  # a target that differs from the networks
    torch.manual_seed(5)
    target = sac.critic_target(batch)

    torch.manual_seed(5)
    with torch.no_grad():
        _, action, log_prob = agent.actor.sample(agent.control(agent.encoder(batch.next_obs)))
        q1, q2 = sac.target.critic(sac.target.control(sac.target.encoder(batch.next_obs)), action)
    for row in range(8):
        value = min(q1[row], q2[row]) - 0.3 * log_prob[row]
        expected = batch.reward[row] + (0.0 if batch.terminated[row] else 0.9 * value)
        assert target[row].item() == pytest.approx(float(expected), rel=1e-5)


def test_the_critic_trains_the_encoder_and_the_actor_does_not(agent, batch):
    sac = SAC(agent, 2, SACConfig(actor_every=2))
    before = snapshot(agent)
    sac._update_actor(agent.features(batch.obs).detach())
    assert moved(agent, before)
    assert all(name.startswith("actor.") for name in moved(agent, before))

    before = snapshot(agent)
    sac._update_critic(agent.features(batch.obs), batch)
    names = moved(agent, before)
    assert {name.split(".")[0] for name in names} == {"encoder", "control", "critic"}
    assert not {"encoder.color_matrix", "encoder.color_offset"} & names


def test_a_critic_step_is_one_adam_step_on_the_plain_loss(agent, batch):
    plain = make_agent()
    plain.load_state_dict(agent.state_dict())
    sac = SAC(agent, 2, SACConfig())
    target = sac.critic_target(batch)
    sac.critic_target = lambda _: target
    sac._update_critic(agent.features(batch.obs), batch)

    parameters = [*plain.encoder.convolutions.parameters(), *plain.control.parameters(), *plain.critic.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    q1, q2 = plain.critic(plain.features(batch.obs), batch.action)
    (((q1 - target) ** 2).mean() + ((q2 - target) ** 2).mean()).backward()
    optimizer.step()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(agent.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_actor_and_targets_move_every_second_update(agent, batch):
    sac = SAC(agent, 2, SACConfig(actor_every=2))
    assert "actor_loss" in sac.update(batch)
    target = snapshot(sac.target)
    assert "actor_loss" not in sac.update(batch)
    assert not moved(sac.target, target)
    sac.update(batch)
    assert moved(sac.target, target)


def test_encoder_and_critic_targets_follow_at_their_own_pace(agent):
    sac = SAC(agent, 2, SACConfig(critic_tau=0.01, encoder_tau=0.05))
    before = snapshot(sac.target)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(1.0)
    sac._update_target()
    change = {name: (value - before[name]).mean().item() for name, value in sac.target.state_dict().items()}
    assert change["encoder.convolutions.0.weight"] == pytest.approx(0.05, rel=1e-3)
    assert change["critic.projection.0.weight"] == pytest.approx(0.05, rel=1e-3)
    assert change["critic.q1.0.weight"] == pytest.approx(0.01, rel=1e-3)


def test_self_supervision_trains_encoder_and_head_alone(agent, batch):
    before = snapshot(agent)
    SelfSupervision(agent, 1e-3).update(batch)
    assert {name.split(".")[0] for name in moved(agent, before)} == {"encoder", "inverse_dynamics"}


def test_self_supervision_learns_what_it_is_shown(agent, batch):
    supervision, first = SelfSupervision(agent, 1e-3), self_supervised_loss(agent, batch).item()
    for _ in range(100):
        supervision.update(batch)
    assert self_supervised_loss(agent, batch).item() < first / 4


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
