"""Collection of episodes for cloning: driven by the expert or the agent, labelled by the expert, beside the learner.

While the learner works on one episode, a second process simulates, renders and acts in the next, so that
both cores are used. Its driver is the agent as it was when the trajectory was asked for, whichever process
is faster: what is collected depends on the seed alone.
"""

import os
import pickle
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch
from joblib.externals.loky import ProcessPoolExecutor

from pad.agent import Agent
from pad.disguise import Disguise
from pad.expert import Expert
from pad.memory import keep_pages
from pad.processes import end_with

MakeEnv = Callable[[str], gym.Env]
"""Environment that observes "pixels" or "state"."""


@dataclass(frozen=True)
class Plan:
    """How an episode is to be collected."""

    episode_seed: int
    """Given to the reset of the environment."""
    noise_seed: tuple[int, ...]
    """Decides the noise on the actions."""
    by_student: bool
    """Whether the agent acts, instead of the expert."""
    noise: float
    """Standard deviation of the noise on the driver's actions."""
    decisions: int | None = None
    """Decisions after which the episode is cut short; None: only the environment ends it."""
    disguise: Disguise | None = None
    """Augments what the agent sees as it acts; collected are the observations without it."""


@dataclass
class Trajectory:
    """An episode as a replay buffer takes it."""

    by_student: bool
    """Whether the agent drove, instead of the expert."""
    first_obs: np.ndarray
    """uint8 (channels, height, width), where layers are collected with one channel more."""
    transitions: list[dict] = field(default_factory=list)
    """Keyword arguments of `ReplayBuffer.append`, one for each decision."""

    @property
    def episode_return(self) -> float:
        return sum(transition["reward"] for transition in self.transitions)


@runtime_checkable
class Layered(Protocol):
    """An environment that tells what each pixel of the newest observation shows."""

    def layers(self) -> np.ndarray:
        """A number of `pad.strong.Layer` for each pixel: uint8 (height, width)."""


def collect(env: gym.Env, agent: Agent, expert: Expert, plan: Plan, layered: bool = False) -> Trajectory:
    """Act in one episode; the environment tells its state in `info["state"]`, which only the expert reads.

    Args:
        env: observes pixels; its actions are in [-1, 1].
        layered: collect layers too, as the last channel of each observation.

    Raises:
        ValueError: when the environment has no `layers`.
    """
    obs, info = env.reset(seed=plan.episode_seed)

    def seen() -> np.ndarray:
        if not layered:
            return np.array(obs)  # a copy: an environment may use its arrays again
        if not isinstance(env.unwrapped, Layered):
            raise ValueError("random_background needs an environment that has a method layers(); this one has none")
        return np.concatenate([obs, env.unwrapped.layers()[None]])

    view = seen()
    trajectory, rng, over = Trajectory(plan.by_student, view), np.random.default_rng(plan.noise_seed), False
    state = np.array(info["state"])
    expert_action = expert.act(state)
    while not over:
        action = expert_action
        if plan.by_student:
            action = agent.act(obs if plan.disguise is None else plan.disguise(view))
        action = np.clip(action + plan.noise * rng.normal(size=action.shape), -1, 1).astype(np.float32)
        obs, reward, terminated, truncated, info = env.step(action)
        view, next_state = seen(), np.array(info["state"])
        next_expert_action = expert.act(next_state)
        trajectory.transitions.append(
            {"action": action, "reward": float(reward), "terminated": terminated, "next_obs": view,
             "expert_action": expert_action, "next_expert_action": next_expert_action,
             "state": state, "next_state": next_state}
        )  # fmt: skip
        state, expert_action = next_state, next_expert_action
        over = terminated or truncated or len(trajectory.transitions) == plan.decisions
    return trajectory


class Collector:
    """Collects trajectories in a process of its own, or in this one as soon as they are asked for.

    Args:
        make_env: called once, in the process that collects.
        own_process: whether to collect beside the caller.
        layered: collect layers too, as the last channel of each observation.
    """

    def __init__(self, make_env: MakeEnv, own_process: bool, layered: bool = False) -> None:
        self._make_env, self._env, self._layered = make_env, None if own_process else make_env("pixels"), layered
        self._executor: ProcessPoolExecutor | None = None

    def begin(self, agent: Agent, expert: Expert, plan: Plan) -> "Pending":
        """Start to collect a trajectory, with the agent and the expert as they are now."""
        if self._env is not None:
            return Pending.of(collect(self._env, agent, expert, plan, self._layered))
        with signals_blocked():
            return self._submit(agent, expert, plan)

    def _submit(self, agent: Agent, expert: Expert, plan: Plan) -> "Pending":
        # Copied, so that the learner may go on; as bytes, so that no tensor is shared between processes.
        networks = pickle.dumps((deepcopy(agent).cpu(), deepcopy(expert).cpu()))
        work = _collect_in_process, self._make_env, networks, plan, self._layered, os.getpid()
        return Pending(self._pool().submit(*work))

    def _pool(self) -> ProcessPoolExecutor:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(max_workers=1)
        return self._executor

    def close(self) -> None:
        """End the process that collects, if there is one."""
        if self._executor is not None:
            self._executor.shutdown(kill_workers=True)
            self._executor = None


@contextmanager
def signals_blocked() -> Iterator[None]:
    """A process that is started inside never hears of Ctrl-C or SIGTERM: the learner decides what they mean."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Pending:
    """A trajectory that may still be under way."""

    def __init__(self, future: "Future[Trajectory]") -> None:
        self._future = future

    @classmethod
    def of(cls, trajectory: Trajectory) -> "Pending":
        """A trajectory that is there already."""
        future: Future[Trajectory] = Future()
        future.set_result(trajectory)
        return cls(future)

    def result(self, poll: Callable[[], None]) -> Trajectory:
        """The trajectory; `poll` is called again and again while it is not ready, and may raise.

        Raises:
            ChildProcessError: when the process died.
        """
        while True:
            poll()
            try:
                return self._future.result(timeout=0.2)
            except NotYet:
                if self._future.done() and self._future.exception() is not None:  # the environment's, of the same name
                    raise
            except BrokenExecutor as error:
                poll()
                raise ChildProcessError("the process that records episodes died; --resume goes on") from error


_env: gym.Env | None = None


def _collect_in_process(make_env: MakeEnv, networks: bytes, plan: Plan, layered: bool, learner: int) -> Trajectory:
    global _env
    torch.set_num_threads(1)
    if _env is None:
        end_with(learner)
        keep_pages()
        _env = make_env("pixels")
    agent, expert = pickle.loads(networks)  # noqa: S301  # from our own other process
    return collect(_env, agent, expert, plan, layered)
