"""Gymnasium environments on dm_control whose camera can be shifted. Knows no torch and no agent.

Importing this package registers `pad/<task>-v0` for every task of the suite.
"""

from envs.opengl import OpenGLUnavailable, choose

choose()  # before anything imports MuJoCo

import importlib  # noqa: E402
import os  # noqa: E402
from typing import Literal  # noqa: E402

import gymnasium as gym  # noqa: E402

try:
    import dm_control.mujoco  # noqa: F401  # opens the display, and fails in its own way where there is none
except ModuleNotFoundError:
    raise  # it is not installed
except Exception as error:
    raise OpenGLUnavailable(error) from error

from envs.dm_control_env import DMControlEnv, EnvConfig  # noqa: E402
from envs.renderer import Quality  # noqa: E402
from envs.sensors import SensorShift  # noqa: E402
from envs.shifts import SHIFTS  # noqa: E402
from envs.tasks import PAPER_TASKS, TASKS  # noqa: E402


def make(
    config: EnvConfig,
    observation: Literal["pixels", "state"] = "pixels",
    render_size: int = 256,
    render_mode: str | None = "rgb_array",
) -> gym.Env:
    """The environment with its frames stacked on channels and its time limit.

    Observations are uint8 (3 * frame_stack, image_size, image_size); with `observation="state"`
    float32 vectors of the simulator's own state, and nothing is rendered for them.
    """
    env: gym.Env = DMControlEnv(config, observation, render_mode, render_size)
    if observation == "pixels":
        channels, height, width = env.observation_space.shape or ()
        env = gym.wrappers.FrameStackObservation(env, config.frame_stack)
        env = gym.wrappers.ReshapeObservation(env, (channels * config.frame_stack, height, width))
    return gym.wrappers.TimeLimit(env, config.decisions)


def _make_registered(
    render_mode: str | None = "rgb_array",
    render_size: int = 256,
    observation: Literal["pixels", "state"] = "pixels",
    **settings: object,
) -> gym.Env:
    return make(EnvConfig(**settings), observation, render_size, render_mode)  # type: ignore[arg-type]


_make_registered.metadata = DMControlEnv.metadata  # type: ignore[attr-defined]  # what Gymnasium makes other modes of

for _task in TASKS:
    gym.register(f"pad/{_task}-v0", entry_point="envs:_make_registered", kwargs={"task": _task})

for _module in filter(None, os.environ.get("PAD_SHIFTS", "").split(",")):
    importlib.import_module(_module.strip())  # whose shifts commands are to know

__all__ = [
    "PAPER_TASKS", "SHIFTS", "TASKS", "DMControlEnv", "EnvConfig", "OpenGLUnavailable", "Quality", "SensorShift",
    "make",
]  # fmt: skip
