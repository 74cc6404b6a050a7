import pytest
import torch
from torch import nn

from pad.networks import Actor, Critic, initialize


def test_the_log_density_is_that_of_a_squashed_gaussian():
    torch.manual_seed(0)
    actor = Actor(nn.Identity(), 5, 3, 16)
    features = torch.randn(64, 5)
    sample = actor.sample(features)
    mean, log_std = actor(features)
    gaussian = torch.distributions.Normal(mean, log_std.exp())
    squashed = torch.distributions.TransformedDistribution(gaussian, torch.distributions.TanhTransform(cache_size=1))
    inside = sample.action.abs().amax(-1) < 0.999  # at the rim the inverse of tanh loses its digits
    expected = squashed.log_prob(sample.action).sum(-1)
    torch.testing.assert_close(sample.log_prob[inside], expected[inside], rtol=1e-3, atol=1e-3)


def test_actions_stay_within_their_bounds_and_vary():
    actor = Actor(nn.Identity(), 5, 3, 16)
    sample = actor.sample(100 * torch.randn(64, 5))
    assert sample.action.abs().max() <= 1
    assert sample.log_prob.isfinite().all()
    assert sample.action.std(0).min() > 0


def test_the_two_q_functions_differ():
    critic = Critic(nn.Identity(), 5, 3, 16)
    critic.apply(initialize)
    q1, q2 = critic(torch.randn(8, 5), torch.randn(8, 3))
    assert q1.shape == (8,)
    assert not torch.allclose(q1, q2)


@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_begin_delta_orthogonal(stride):
    layer = nn.Conv2d(8, 16, 3, stride)
    initialize(layer)
    middle = layer.weight[:, :, 1, 1] / nn.init.calculate_gain("relu")
    torch.testing.assert_close(middle.T @ middle, torch.eye(8), rtol=1e-4, atol=1e-4)
    layer.weight.data[:, :, 1, 1] = 0
    assert not layer.weight.any()
