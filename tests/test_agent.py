import dataclasses

import numpy as np
import pytest
import torch
from conftest import SMALL, make_agent

from pad.agent import Agent, AgentConfig
from pad.encoder import EncoderConfig


def test_an_agent_acts_within_bounds_and_the_same_each_time(agent, transition):
    obs = transition[0]
    action = agent.act(obs)
    assert action.shape == (2,)
    assert np.abs(action).max() <= 1
    assert (action == agent.act(obs)).all()


def test_a_drawn_action_varies(agent, transition):
    assert not (agent.act(transition[0], sample=True) == agent.act(transition[0], sample=True)).all()


@pytest.mark.parametrize(
    "obs", [np.zeros((9, 24, 24), np.float32), np.zeros((9, 20, 24), np.uint8), np.zeros((24, 24, 9), np.uint8)]
)
def test_an_observation_of_another_shape_or_dtype_is_refused(agent, obs):
    with pytest.raises(ValueError, match=r"observation must be uint8 \(9, 24, 24\), got"):
        agent.act(obs)


def test_acting_leaves_no_gradient_behind(agent, transition):
    agent.act(transition[0])
    assert all(parameter.grad is None for parameter in agent.parameters())


def test_all_layers_can_be_shared():
    config = dataclasses.replace(SMALL, encoder=dataclasses.replace(SMALL.encoder, shared_layers=3))
    shared = make_agent(config=config)
    assert len(shared.encoder.convolutions) == 3
    assert not list(shared.control.parameters())


def test_a_cloned_agent_has_no_critic_and_an_unsupervised_one_no_head():
    assert make_agent(critic=False).critic is None
    assert make_agent(config=dataclasses.replace(SMALL, self_supervised=False)).inverse_dynamics is None


def test_the_papers_agent_has_the_papers_shapes():
    with torch.device("meta"):
        agent = Agent((9, 100, 100), 1, AgentConfig())
    assert [tuple(c.weight.shape) for c in agent.encoder.convolutions][:2] == [(32, 9, 3, 3), (32, 32, 3, 3)]
    assert len(agent.encoder.convolutions) == 8
    assert agent.actor.projection[0].weight.shape == (100, 32 * 21 * 21)
    assert agent.inverse_dynamics.head[0].weight.shape == (1024, 200)


def test_an_observation_smaller_than_the_crop_is_refused():
    with pytest.raises(ValueError, match="crop_size 84 exceeds"):
        Agent((9, 64, 64), 1, AgentConfig(EncoderConfig()))
