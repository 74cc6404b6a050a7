"""Episodes on disk: what a policy saw and did in the environment that it was trained in."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from pad.agent import Agent
from pad.deployment.camera import Observation
from pad.deployment.model import Model
from pad.deployment.policy import FrozenPolicy
from pad.evaluation import warn_of_length
from pad.files import first_line, write_atomically
from pad.seeding import training_seed
from pad.tracking import progress_bar


@dataclass
class RecordedEpisode:
    """What was seen and done in one episode, with one more observation than actions.

    Rewards are for people: nothing learns from them.
    """

    observations: list[Observation] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)
    episode_return: float = 0.0

    def __len__(self) -> int:
        return len(self.actions)

    def transitions(self) -> Iterator[tuple[Observation, Any, Observation]]:
        """Each step as obs, action, next_obs."""
        yield from zip(self.observations[:-1], self.actions, self.observations[1:], strict=True)

    def save(self, path: Path) -> None:
        """Write the episode as a compressed .npz: `actions`, and `obs` or `obs/<key>` for each entry of an observation.

        Raises:
            ValueError: when an observation holds anything but arrays.
        """
        arrays: dict[str, Any] = {"actions": np.array(self.actions), "episode_return": np.array(self.episode_return)}
        first = self.observations[0]
        if isinstance(first, Mapping):
            arrays |= {f"obs/{key}": np.stack([obs[key] for obs in self.observations]) for key in first}
        else:
            arrays["obs"] = np.stack(self.observations)
        if nested := [name for name, array in arrays.items() if array.dtype.hasobject]:
            raise ValueError(
                f"{', '.join(nested)} is no array of numbers: observations may be a mapping of arrays, not more"
            )
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "RecordedEpisode":
        """Read what `save` wrote.

        Raises:
            ValueError: when it is corrupt, or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            actions = list(arrays["actions"])
            if "obs" in arrays:
                observations: list[Observation] = list(arrays["obs"])
            else:
                named = {name.removeprefix("obs/"): array for name, array in arrays.items() if name.startswith("obs/")}
                observations = [{key: array[step] for key, array in named.items()} for step in range(len(actions) + 1)]
            if len(observations) != len(actions) + 1 or not actions:
                raise ValueError(f"{len(observations)} observations and {len(actions)} actions are no episode")
            return cls(observations, actions, float(arrays.get("episode_return", 0.0)))
        except Exception as error:  # a truncated archive fails in many ways
            raise ValueError(f"{path} is no recorded episode: {first_line(error)}") from error


def record_episode(
    env: gym.Env, policy: Any, seed: int, noise: float = 0.0, limit: int | None = None
) -> RecordedEpisode:
    """Run and record one episode.

    Args:
        policy: an agent of this package, a model, or anything whose `act` turns an observation into an action; where
            it has a `reset`, it is told that an episode begins.
        noise: chance of a random action at each step. Some of it shows the head actions that the policy does not take.
        limit: ends the episode after so many decisions, if it has not ended by itself.
    """
    space = action_space_of(policy) or env.action_space
    policy = FrozenPolicy(policy) if isinstance(policy, (Agent, Model)) else policy
    # A stream of its own: environments draw theirs from the seed itself.
    rng = np.random.default_rng([seed, *b"noise"])
    space.seed(int(rng.integers(2**31)))
    obs, _ = env.reset(seed=seed)
    if callable(reset := getattr(policy, "reset", None)):
        reset()
    episode, over = RecordedEpisode([_copied(obs)]), False
    while not over:
        action = space.sample() if rng.uniform() < noise else policy.act(obs)
        obs, reward, terminated, truncated, _ = env.step(action)
        over = terminated or truncated or len(episode.actions) + 1 == limit
        episode.observations.append(_copied(obs))
        episode.actions.append(_held(action, space))
        episode.episode_return += float(reward)
        warn_of_length(len(episode.actions))
    return episode


def record_episodes(
    folder: str | Path,
    env: gym.Env,
    policy: Any,
    episodes: int,
    seed: int = 0,
    noise: float = 0.0,
    limit: int | None = None,
) -> None:
    """Record episodes as .npz files in a folder; each is written when it is over, so an interrupt keeps whole ones.

    Raises:
        FileExistsError: when the folder holds recorded episodes already.
        ValueError: when episodes, noise or the limit make no sense.
    """
    folder = Path(folder)
    if limit is not None and limit < 1:
        raise ValueError(f"an episode has at least one decision, got a limit of {limit}")
    if episodes < 1 or not 0 <= noise <= 1:
        raise ValueError(f"episodes must be at least 1 and noise from 0 to 1, got {episodes} and {noise}")
    if next(folder.glob("*.npz"), None) is not None:
        raise FileExistsError(f"{folder} holds recorded episodes already: name another folder")
    with progress_bar("recording", episodes, 0, "episodes") as bar:
        for number in range(episodes):
            episode = record_episode(env, policy, training_seed(seed, number), noise, limit)
            episode.save(folder / f"episode_{number:05d}.npz")
            bar.set_postfix_str(f"return {episode.episode_return:.4g}", refresh=False)
            bar.update(1)


def load_episodes(folder: str | Path) -> list[RecordedEpisode]:
    """The recorded episodes (*.npz) of a folder, in the order of their names.

    Raises:
        FileNotFoundError: when there are none.
        ValueError: when one is corrupt.
    """
    folder = Path(folder)
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise FileNotFoundError(f"no recorded episodes (*.npz) in {folder}")
    return [RecordedEpisode.load(path) for path in paths]


def action_space_of(policy: Any) -> gym.Space | None:
    """What a policy says that its actions are; None where it says nothing."""
    if isinstance(policy, Agent):
        return gym.spaces.Box(-1.0, 1.0, (policy.action_size,), np.float32)
    space = getattr(policy, "action_space", None)
    return space if isinstance(space, gym.Space) else None


def _held(action: Any, space: gym.Space) -> np.ndarray:
    """What came of it: a machine holds an action within its range."""
    return np.clip(action, space.low, space.high) if isinstance(space, gym.spaces.Box) else np.array(action)


def _copied(obs: Observation) -> Observation:
    if isinstance(obs, Mapping):
        return {key: np.array(value) for key, value in obs.items()}
    return np.array(obs)
