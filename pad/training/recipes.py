"""The phases of each recipe: soft actor-critic of the pixel agent, or an expert's training and its cloning."""

from collections.abc import Mapping
from pathlib import Path

import gymnasium as gym
import numpy as np

from pad.agent import Agent
from pad.expert import Expert
from pad.replay_buffer import ReplayBuffer
from pad.seeding import training_seed
from pad.strong import LAYERED
from pad.training.clone_phase import ClonePhase
from pad.training.collection import Layered, MakeEnv
from pad.training.config import TrainingConfig
from pad.training.expert_phase import ExpertPhase
from pad.training.goals import GoalRelabelling, Goals
from pad.training.learners import PixelLearner, StateLearner
from pad.training.phase import Phase
from pad.training.sac_phase import SACPhase, Schedule
from pad.training.stepping import InlineStepper, Stepper, make_stepper, shape_of_actions


def make_phases(agent: Agent, make_env: MakeEnv, config: TrainingConfig, seed: int, folder: Path) -> list[Phase]:
    """The phases of a recipe, first to last; replay is kept below `folder`.

    Raises:
        ValueError: when the environment lacks what the recipe needs.
    """
    if config.recipe == "sac":
        return [_sac_phase(agent, make_env, config, seed, folder / "replay")]
    state_env = make_env("state")
    (state_size,), action_size = state_env.observation_space.shape or (), agent.action_size
    _check_pixels(make_env("pixels"), state_size, LAYERED in config.clone.augmentations, seed)
    expert = Expert(state_size, action_size, config.expert.hidden).to(agent.device)
    return [
        _expert_phase(expert, state_env, config, seed, folder / "replay_expert"),
        _clone_phase(agent, expert, state_size, make_env, config, seed, folder / "replay"),
    ]


def _sac_phase(agent: Agent, make_env: MakeEnv, config: TrainingConfig, seed: int, folder: Path) -> SACPhase:
    stepper = make_stepper(make_env, "pixels", own_process=config.recording == "process")
    state_size = None if config.critic == "pixels" else _state_size(stepper, seed)
    extras = {} if state_size is None else {"state": state_size, "next_state": state_size}
    replay = _image_replay(agent, config.replay_capacity or _slots(config.steps), folder, seed, extras)
    learner = PixelLearner(agent, config, state_size)
    return SACPhase(agent, stepper, learner, replay, Schedule(config.steps, config.random_steps), seed)


def _expert_phase(expert: Expert, env: gym.Env, config: TrainingConfig, seed: int, folder: Path) -> ExpertPhase:
    settings, shape = config.expert, env.observation_space.shape or ()
    actions = int(np.prod(env.action_space.shape or ()))
    replay = ReplayBuffer(_slots(settings.steps), shape, actions, dtype=np.float32, folder=folder, seed=seed)
    learner = StateLearner(expert, actions, settings, _relabelling(env, settings.redrawn_goals, seed))
    schedule = Schedule(settings.steps, settings.random_steps, settings.max_episode_steps)
    return ExpertPhase(expert, InlineStepper(env), learner, replay, schedule, seed)


def _clone_phase(
    agent: Agent, expert: Expert, state_size: int, make_env: MakeEnv, config: TrainingConfig, seed: int, folder: Path
) -> ClonePhase:
    labels = {"expert_action": agent.action_size, "state": state_size}
    labels |= {f"next_{name}": size for name, size in labels.items()}
    layered = LAYERED in config.clone.augmentations
    # The files grow only as they fill, so the bound need not be tight.
    replay = _image_replay(agent, 10_000_000, folder, seed, labels, layered)
    return ClonePhase(agent, expert, state_size, make_env, config, replay, seed)


def _check_pixels(env: gym.Env, state_size: int, layered: bool, seed: int) -> None:
    """Check that clones can be recorded in an environment before hours of expert training are spent; closes it.

    Raises:
        ValueError: when they cannot.
    """
    try:
        shape_of_actions(env.action_space)
        _, info = env.reset(seed=training_seed(seed, 0))
        if "state" not in info:
            raise ValueError(
                "recipe clone needs an environment that tells its state in info['state']; this one does not"
            )
        if len(info["state"]) != state_size:
            raise ValueError(f"info['state'] has {len(info['state'])} numbers, the observation of states {state_size}")
        if layered and not isinstance(env.unwrapped, Layered):
            raise ValueError("random_background needs an environment that has a method layers(); this one has none")
    finally:
        env.close()


def _state_size(stepper: Stepper, seed: int) -> int:
    stepper.reset(training_seed(seed, 0))
    if stepper.state is None:
        raise ValueError("critic state needs an environment that tells its state in info['state']; this one does not")
    return len(stepper.state)


def _relabelling(env: gym.Env, share: float, seed: int) -> GoalRelabelling | None:
    if not share:
        return None
    goals = getattr(env.unwrapped, "goals", None)
    if not isinstance(goals, Goals):
        raise ValueError("redrawn_goals need an environment that tells its goals in its attribute goals; this has none")
    return GoalRelabelling(goals, share, seed)


def _image_replay(
    agent: Agent, slots: int, folder: Path, seed: int, extras: Mapping[str, int], layered: bool = False
) -> ReplayBuffer:
    channels, height, width = agent.obs_shape
    stack, frame = channels // agent.frame_channels, (agent.frame_channels + layered, height, width)
    return ReplayBuffer(slots, frame, agent.action_size, stack, extras=extras, folder=folder, seed=seed)


def _slots(steps: int) -> int:
    # A slot for each transition and one more for each episode, however short; files grow only as they fill.
    return 2 * steps + 10_000
