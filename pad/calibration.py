"""What the self-supervised loss is like where the agent was trained, measured on the agent as it is."""

from collections.abc import Sequence

import gymnasium as gym

from pad.adaptation import FrozenPolicy, MeasuredPolicy
from pad.agent import Agent
from pad.evaluation import run_episode
from pad.gate import Calibration


def calibrate(agent: Agent, env: gym.Env, seeds: Sequence[int]) -> Calibration:
    """From one episode of the training environment for each seed.

    Raises:
        ValueError: when the agent has no self-supervised head.
    """
    if agent.inverse_dynamics is None:
        raise ValueError("this agent was trained without a self-supervised head: there is nothing to calibrate")
    policy = MeasuredPolicy(FrozenPolicy(agent))
    return Calibration.of([run_episode(env, policy, seed).self_supervised_loss for seed in seeds])
