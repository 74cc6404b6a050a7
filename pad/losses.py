"""One equation per function. Pure: no network, no state.

Soft actor-critic as in Haarnoja et al. (2018), inverse dynamics as in Hansen et al. (2021), regret as in Sun et al.
(2017).
"""

import torch
import torch.nn.functional as F

from pad.types import Actions, Flags, Scalar, Scalars


def soft_target(
    reward: Scalars,
    terminated: Flags,
    next_q1: Scalars,
    next_q2: Scalars,
    next_log_prob: Scalars,
    temperature: Scalar,
    discount: float,
) -> Scalars:
    """Value that Q should have: reward plus the discounted soft value of the next state."""
    next_value = next_q1.minimum(next_q2) - temperature * next_log_prob
    # A time limit is not a failure: bootstrap past it, and stop only at a terminal state.
    return reward + discount * (~terminated) * next_value


def critic_loss(q1: Scalars, q2: Scalars, target: Scalars) -> Scalar:
    """Squared error of both Q functions."""
    return F.mse_loss(q1, target) + F.mse_loss(q2, target)


def actor_loss(q1: Scalars, q2: Scalars, log_prob: Scalars, temperature: Scalar) -> Scalar:
    """Negative soft value of the actor's own actions."""
    return (temperature * log_prob - q1.minimum(q2)).mean()


def temperature_loss(log_alpha: Scalar, log_prob: Scalars, target_entropy: float) -> Scalar:
    """Raises the temperature where the entropy is below its target, and lowers it above."""
    return (log_alpha.exp() * (-log_prob.detach() - target_entropy)).mean()


def inverse_dynamics_loss(predicted: Actions, action: Actions) -> Scalar:
    """Mean squared error of the action inferred from two successive observations."""
    return F.mse_loss(predicted, action)


def cloning_loss(action: Actions, expert_action: Actions) -> Scalar:
    """Mean squared distance from the expert's action."""
    return F.mse_loss(action, expert_action)


def regret_loss(value: Scalars, expert_value: Scalars, random_value: Scalars) -> Scalar:
    """What the agent's actions lose against the expert's, as a share of what random ones lose.

    The expert's Q says what an action costs if the expert goes on from there (AggreVaTe, Ross and Bagnell, 2014; along
    its gradient, Sun et al., 2017). It is below zero where the agent's actions are worth more.
    """
    scale = (expert_value - random_value).detach().abs().mean()
    return (expert_value.detach() - value).mean() / scale.clamp_min(torch.finfo(scale.dtype).tiny)
