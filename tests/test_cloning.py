import dataclasses

import pytest
import torch
from conftest import SMALL, make_agent
from torch import nn

from pad.cloning import CloneConfig, Cloning
from pad.expert import Expert
from pad.losses import regret_loss
from pad.networks import Critic


def with_state(batch):
    draws = torch.Generator().manual_seed(0)
    states = {name: torch.randn(8, 4, generator=draws) for name in ("state", "next_state")}
    shape = batch.extras["expert_action"].shape
    actions = {"next_expert_action": torch.rand(shape, generator=draws) * 2 - 1}
    return dataclasses.replace(batch, extras={**batch.extras, **states, **actions})


def test_the_agent_learns_what_the_expert_does_and_which_action_it_took(batch):
    agent = make_agent(critic=False)
    cloning = Cloning(agent, 4, CloneConfig(updates=100))
    shown = with_state(batch)
    metrics = [cloning.update(shown) for _ in range(100)]
    for loss in ("cloning_loss", "inverse_dynamics_loss"):
        assert metrics[-1][loss] < metrics[0][loss] / 4


def test_at_both_ends_the_agent_learns_what_the_expert_does_next_as_well(batch):
    shown = with_state(batch)
    distances = {}
    for both_ends in (False, True):
        torch.manual_seed(0)
        agent = make_agent(critic=False)
        cloning = Cloning(agent, 4, CloneConfig(updates=100, both_ends=both_ends))
        for _ in range(100):
            cloning.update(shown)
        with torch.no_grad():
            action = agent.actor.mean(agent.features(shown.next_obs))
        distances[both_ends] = (action - shown.extras["next_expert_action"]).square().mean()
    assert distances[True] < distances[False] / 2


def test_both_ends_count_alike_and_share_one_encoding(batch):
    shown = with_state(batch)
    swapped = dataclasses.replace(
        shown,
        obs=shown.next_obs,
        next_obs=shown.obs,
        extras={
            name: shown.extras[name.removeprefix("next_") if name.startswith("next_") else f"next_{name}"]
            for name in ("expert_action", "next_expert_action", "state", "next_state")
        },
    )
    learned = []
    for seen in (shown, swapped):
        torch.manual_seed(0)
        agent = make_agent(config=dataclasses.replace(SMALL, self_supervised=False), critic=False)
        cloning = Cloning(agent, 4, CloneConfig(both_ends=True))
        learned.append(cloning.update(seen))
    for name in ("cloning_loss", "state_loss"):
        assert learned[0][name] == pytest.approx(learned[1][name], rel=1e-4)


def test_the_learning_rate_falls_along_a_cosine(batch):
    config = CloneConfig(updates=10, learning_rate=1e-3, final_learning_rate=1e-4)
    cloning, shown = Cloning(make_agent(critic=False), 4, config), with_state(batch)
    rates = []
    for _ in range(10):
        rates.append(cloning._learning_rate())
        cloning.update(shown)
    assert rates[0] == pytest.approx(1e-3)
    assert rates[5] == pytest.approx(5.5e-4)
    assert cloning._learning_rate() == pytest.approx(1e-4)


def test_an_agent_without_a_head_can_be_cloned_too(batch):
    agent = make_agent(config=dataclasses.replace(SMALL, self_supervised=False), critic=False)
    metrics = Cloning(agent, 4, CloneConfig()).update(with_state(batch))
    assert metrics["inverse_dynamics_loss"] == 0


def test_the_agent_is_the_running_average_of_the_weights_that_learn(batch):
    agent = make_agent(critic=False)
    cloning, shown = Cloning(agent, 4, CloneConfig(averaging=0.5)), with_state(batch)
    name = "actor.policy.4.weight"
    average = agent.state_dict()[name].clone()
    for _ in range(20):
        cloning.update(shown)
        learned = cloning._agent.state_dict()[name]
        past = min(0.5, cloning.updates / (cloning.updates + 10))
        average = past * average + (1 - past) * learned
    assert not torch.equal(agent.state_dict()[name], learned)
    torch.testing.assert_close(agent.state_dict()[name], average)


def test_without_averaging_the_agent_is_what_was_learned_last(batch):
    agent = make_agent(critic=False)
    cloning = Cloning(agent, 4, CloneConfig(averaging=0.0))
    cloning.update(with_state(batch))
    for kept, learned in zip(agent.parameters(), cloning._agent.parameters(), strict=True):
        torch.testing.assert_close(kept, learned)


def test_with_regret_the_agent_errs_where_it_costs_little(batch):
    # What the expert's first action is matters ten times as much as its second.
    class Worth(Critic):
        def forward(self, state, action):
            error = (action - shown.extras["expert_action"]) * torch.tensor([1.0, 0.1])
            return (-error.square().sum(-1),) * 2

    shown, share = with_state(batch), {}
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        agent = make_agent(critic=False)
        cloning = Cloning(
            agent, 4, CloneConfig(updates=60, regret_weight=weight), critic=Worth(nn.Identity(), 4, 2, 16)
        )
        metrics = [cloning.update(shown) for _ in range(60)]
        with torch.no_grad():
            action = agent.actor.mean(agent.features(shown.obs))
        error = (action - shown.extras["expert_action"]).square().mean(0)
        share[weight] = (error[0] / error.sum()).item()
    assert metrics[-1]["regret"] < metrics[0]["regret"] / 3
    assert share[10.0] < share[0.0] / 2


def test_regret_teaches_the_agent_and_leaves_the_experts_critic_as_it_is(batch):
    expert, agent = Expert(4, 2, 16), make_agent(critic=False)
    before = {name: value.clone() for name, value in expert.state_dict().items()}
    cloning = Cloning(agent, 4, CloneConfig(regret_weight=1.0, both_ends=True), critic=expert.critic)
    for _ in range(3):
        cloning.update(with_state(batch))
    assert all(parameter.grad is None for parameter in expert.parameters())
    for name, value in expert.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_without_regret_nothing_is_drawn_and_nothing_is_told(batch):
    cloning = Cloning(make_agent(critic=False), 4, CloneConfig(), critic=Expert(4, 2, 16).critic)
    shown, state = with_state(batch), torch.get_rng_state()
    assert "regret" not in cloning.update(shown)
    assert torch.equal(torch.get_rng_state(), state)


def test_regret_needs_the_experts_critic():
    with pytest.raises(ValueError, match="regret_weight 1.0 needs the expert's critic"):
        Cloning(make_agent(critic=False), 4, CloneConfig(regret_weight=1.0))


def test_what_helps_while_training_is_no_part_of_the_agent(batch):
    agent = make_agent(critic=False)
    names = set(agent.state_dict())
    Cloning(agent, 4, CloneConfig()).update(with_state(batch))
    assert set(agent.state_dict()) == names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expert_episodes": 999}, "expert_episodes must be from 1"),
        ({"learning_rate": 0.0}, "learning_rate of the clone must be positive, got 0.0"),
        ({"final_learning_rate": -1.0}, "final_learning_rate of the clone must be positive, got -1.0"),
        ({"action_noise": -0.5}, "action_noise must be at least 0, got -0.5"),
        ({"regret_weight": -1.0}, "regret_weight must be at least 0, got -1.0"),
        ({"student_share": 2.0}, "student_share"),
        ({"max_episode_steps": 0}, "max_episode_steps must be at least 1, got 0"),
        ({"centered_share": 1.5}, "centered_share must be from 0 to 1, got 1.5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        CloneConfig(**change)


def test_what_weighs_nothing_is_not_learned(batch):
    agent = make_agent(critic=False)
    cloning = Cloning(agent, 4, CloneConfig(inverse_dynamics_weight=0.0, state_weight=0.0, averaging=0.0))
    before = [p.clone() for p in (*cloning._agent.inverse_dynamics.parameters(), *cloning._infer_state.parameters())]
    cloning.update(with_state(batch))
    after = (*cloning._agent.inverse_dynamics.parameters(), *cloning._infer_state.parameters())
    assert all(a.equal(b) for a, b in zip(after, before, strict=True))


def test_regret_is_measured_by_the_smaller_value_and_actions_from_the_whole_range(batch):
    expert, shown = Expert(4, 2, 16), with_state(batch)
    cloning = Cloning(make_agent(critic=False), 4, CloneConfig(regret_weight=1.0), critic=expert.critic)
    states, best = shown.extras["state"], shown.extras["expert_action"]
    action = torch.zeros_like(best)
    torch.manual_seed(3)
    found = cloning._regret(states, action, best)
    torch.manual_seed(3)
    at_random = 2 * torch.rand_like(best) - 1
    values = [torch.minimum(*expert.critic(states, a)) for a in (action, best, at_random)]
    torch.testing.assert_close(found, regret_loss(*values))
