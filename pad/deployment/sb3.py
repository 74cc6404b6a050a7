"""Agents of Stable-Baselines3 with a CNN policy: SAC, TD3, DDPG, PPO, A2C and DQN."""

from collections.abc import Mapping
from copy import copy, deepcopy
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from pad.deployment.camera import Camera
from pad.deployment.torch_policy import Act, TorchPolicy


def from_sb3(agent: Any, layout: Literal["HWC", "CHW"] = "HWC", frame_channels: int | None = None) -> TorchPolicy:
    """The policy of a trained agent, which needs a head before it can adapt (`fit_head`).

    It acts as `agent.predict(obs, deterministic=True)` does, also when the agent learns on: it holds a copy.

    Args:
        agent: as its `learn` or `load` left it.
        layout: of the pictures in the observations that the control loop has. Stable-Baselines3 transposes
            channels-last pictures by itself, so this need not be the layout of `agent.observation_space`.
        frame_channels: channels of a single frame. Default: 3 where whole frames of three fit, else 1.

    Raises:
        ImportError: when stable-baselines3 is not installed.
        TypeError: when it is no agent, or its policy is of an unknown kind: `TorchPolicy` takes it by hand.
        ValueError: when it has no pictures among its observations, or its actions are neither a bounded Box nor
            Discrete.
    """
    try:
        from stable_baselines3.common.base_class import BaseAlgorithm
    except ImportError as error:
        raise ImportError("stable-baselines3 is not installed: pip install 'pad-rl[sb3]'") from error
    if not isinstance(agent, BaseAlgorithm):
        raise TypeError(f"not an agent of stable-baselines3: {type(agent).__name__}")
    policy = _copied(agent.policy)
    policy.set_training_mode(False)
    space = agent.observation_space
    spaces = dict(space.spaces) if isinstance(space, gym.spaces.Dict) else {None: space}
    pictures = {key: part for key, part in spaces.items() if _is_picture(part, policy.normalize_images)}
    if not pictures:
        raise ValueError(f"no pictures among the observations: {space}")
    cameras = [_camera(key, part, layout, frame_channels) for key, part in pictures.items()]
    extractor, act = _acting(policy)
    if isinstance(space, gym.spaces.Dict):
        if not _combines(extractor, space, policy.normalize_images, [str(key) for key in pictures]):
            raise TypeError(
                f"unknown kind of features extractor for observations of several entries: {extractor}; TorchPolicy "
                "takes it by hand"
            )
        encoder = _DictEncoder(extractor.extractors, list(pictures))
        act = _with_rest(act, encoder, space, extractor.extractors)
        extractor = encoder
    input_range = (0.0, 1.0) if policy.normalize_images else None
    return TorchPolicy(extractor, act, cameras, agent.action_space, input_range)


def _copied(policy: Any) -> Any:
    # A distribution keeps the last update's tensors, which cannot be copied; whoever uses it sets it anew.
    holders = (policy, getattr(policy, "actor", None))
    distributions = [getattr(holder, "action_dist", None) for holder in holders]
    return deepcopy(policy, {id(distribution): copy(distribution) for distribution in distributions})


def _is_picture(space: gym.Space, normalized: bool) -> bool:
    from stable_baselines3.common.preprocessing import is_image_space

    return isinstance(space, gym.spaces.Box) and is_image_space(space, normalized_image=not normalized)


def _camera(key: str | None, space: gym.Space, layout: Literal["HWC", "CHW"], frame_channels: int | None) -> Camera:
    assert isinstance(space, gym.spaces.Box)
    from stable_baselines3.common.preprocessing import is_image_space_channels_first

    shape = tuple(space.shape)
    first = shape if is_image_space_channels_first(space) else (shape[2], *shape[:2])
    channels = first[0]
    declared = first if layout == "CHW" else (*first[1:], channels)
    frame = frame_channels or (3 if channels % 3 == 0 else 1)
    low, high = float(space.low.min()), float(space.high.max())
    return Camera((declared[0], declared[1], declared[2]), key, layout, str(space.dtype), low, high, frame)


def _acting(policy: Any) -> tuple[Any, Act]:
    """The features' extractor of whatever acts, and what turns its features into an action."""
    from stable_baselines3.common.policies import ActorCriticPolicy

    if isinstance(policy, ActorCriticPolicy) and not hasattr(policy, "lstm_actor"):
        return policy.pi_features_extractor, lambda features, _: _actor_critic_action(policy, features)
    if getattr(policy, "actor", None) is not None:
        return policy.actor.features_extractor, lambda features, _: _actor_action(policy, features)
    if getattr(policy, "q_net", None) is not None:
        network = policy.q_net
        return network.features_extractor, lambda features, _: int(network.q_net(features).argmax(1)[0])
    raise TypeError(f"unknown kind of policy: {type(policy).__name__}; TorchPolicy takes any by hand")


def _actor_critic_action(policy: Any, features: Tensor) -> Any:
    # The policy's distribution is written to: each call has its own, since a learner may ask at the same time.
    own = copy(policy)
    own.action_dist = copy(policy.action_dist)
    distribution = own._get_action_dist_from_latent(policy.mlp_extractor.forward_actor(features))
    action = distribution.get_actions(deterministic=True)[0].cpu().numpy()
    space = policy.action_space
    if isinstance(space, gym.spaces.Discrete):
        return int(action)
    if policy.squash_output:
        return policy.unscale_action(action)
    return np.clip(action.reshape(space.shape), space.low, space.high)


def _actor_action(policy: Any, features: Tensor) -> np.ndarray:
    actor = policy.actor
    stochastic = hasattr(actor, "latent_pi")  # soft actor-critic; the others' `mu` is the whole network
    scaled = torch.tanh(actor.mu(actor.latent_pi(features))) if stochastic else actor.mu(features)
    return policy.unscale_action(scaled[0].cpu().numpy().reshape(policy.action_space.shape))


def _combines(extractor: Any, space: gym.spaces.Dict, normalized: bool, pictures: list[str]) -> bool:
    """Whether a features extractor does no more than to put those of the entries side by side."""
    from stable_baselines3.common.preprocessing import preprocess_obs

    parts = getattr(extractor, "extractors", None)
    if not isinstance(parts, nn.ModuleDict) or not all(hasattr(parts[key], "features_dim") for key in pictures):
        return False
    sample = {key: torch.as_tensor(np.asarray(value))[None] for key, value in space.sample().items()}
    device = next(extractor.parameters()).device
    shown: Any = preprocess_obs({n: v.to(device) for n, v in sample.items()}, space, normalize_images=normalized)
    with torch.no_grad():
        whole, side_by_side = extractor(shown), [part(shown[key]) for key, part in parts.items()]
    if any(part.ndim != 2 for part in side_by_side) or whole.shape[1] != sum(part.shape[1] for part in side_by_side):
        return False
    return bool(torch.allclose(whole, torch.cat(side_by_side, 1), atol=1e-5))


class _DictEncoder(nn.Module):
    """The part of a CombinedExtractor that looks at pictures."""

    def __init__(self, extractors: Any, keys: list[str | None]) -> None:
        super().__init__()
        self.extractors = nn.ModuleDict({str(key): extractors[key] for key in keys})
        self.sizes = {str(key): int(extractors[key].features_dim) for key in keys}

    def forward(self, pictures: Tensor | dict[str, Tensor]) -> Tensor:
        shown = pictures if isinstance(pictures, dict) else {next(iter(self.extractors)): pictures}
        return torch.cat([extractor(shown[key]).flatten(1) for key, extractor in self.extractors.items()], 1)


def _with_rest(act: Act, encoder: _DictEncoder, space: Any, extractors: Any) -> Act:
    """Puts the features of pictures and the other entries together as the agent's own extractor does."""
    from stable_baselines3.common.preprocessing import preprocess_obs

    def combined(features: Tensor, rest: Mapping[str, Any]) -> Any:
        pictures = dict(zip(encoder.sizes, features.split(list(encoder.sizes.values()), 1), strict=True))
        parts = []
        for key, extractor in extractors.items():
            if key in pictures:
                parts.append(pictures[key])
            else:
                value = torch.as_tensor(np.asarray(rest[key]), device=features.device)[None]
                parts.append(extractor(preprocess_obs(value, space[key])))
        return act(torch.cat(parts, 1), rest)

    return combined
