"""Agents that Stable-Baselines3 itself made, trained and restored."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("stable_baselines3")

from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor

from pad.deployment import NO_GUARDS, AdaptationConfig, AdaptivePolicy, FrozenPolicy
from pad.deployment.sb3 import from_sb3

SIZE = 36
UNGUARDED = AdaptationConfig(batch_size=4, memory=4, transitions=None, guards=NO_GUARDS)
OFF_POLICY = {"learning_starts": 4, "buffer_size": 32, "batch_size": 4, "train_freq": 4}
ON_POLICY = {"n_steps": 8, "batch_size": 4, "n_epochs": 1}
CONTINUOUS = gym.spaces.Box(np.array([-2, 0], np.float32), np.array([2, 1], np.float32))
DISCRETE = gym.spaces.Discrete(4)


class Noise(gym.Env):
    """Random pictures, or pictures and a vector, with channels last as environments have them."""

    def __init__(self, actions: gym.Space, layout: str = "HWC", kind: str = "picture", channels: int = 3) -> None:
        shape = (SIZE, SIZE, channels) if layout == "HWC" else (channels, SIZE, SIZE)
        view = gym.spaces.Box(0, 255, shape, np.uint8)
        spaces = {"view": view, "joints": gym.spaces.Box(-3, 3, (5,), np.float64), "mode": gym.spaces.Discrete(3)}
        self.observation_space = {
            "picture": view,
            "dictionary": gym.spaces.Dict(spaces),
            "vector": spaces["joints"],
            "normalized": gym.spaces.Box(0, 1, shape, np.float32),
        }[kind]
        self.action_space = actions

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), float(np.sum(action)), False, bool(self.np_random.uniform() < 0.1), {}


def train(kind, env: gym.Env, policy: str = "CnnPolicy", **settings):
    torch.set_num_threads(1)
    small = {"features_extractor_kwargs": {"features_dim": 16}} if policy == "CnnPolicy" else {}
    small = settings.pop("policy_kwargs", {}) | small
    return kind(policy, env, seed=0, device="cpu", policy_kwargs=small, **settings).learn(16)


def check(agent, env: gym.Env, layout: str = "HWC", config: AdaptationConfig = UNGUARDED) -> None:
    """It acts as the agent does, and adapts while the agent stays."""
    policy = from_sb3(agent, layout=layout)
    policy.fitted = True  # what it infers does not matter here
    before = [parameter.clone() for parameter in agent.policy.parameters()]
    frozen, adapting = FrozenPolicy(policy), AdaptivePolicy(policy, config)
    obs, _ = env.reset(seed=1)
    changed = False
    for _ in range(6):
        expected, _ = agent.predict(obs, deterministic=True)
        action = frozen.act(obs)
        np.testing.assert_array_equal(action, expected)
        assert env.action_space.contains(action) or env.action_space.contains(np.asarray(action))
        next_obs, *_ = env.step(action)
        assert adapting.observe(obs, action, next_obs)["updates"] == 1
        with torch.no_grad():
            features = [model.encode(model.see(next_obs)) for model in (policy, adapting.model)]
        changed |= not features[0].equal(features[1])
        obs = next_obs
    assert changed
    assert all(now.equal(then) for now, then in zip(agent.policy.parameters(), before, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize(
    ("kind", "actions", "settings"),
    [
        (SAC, CONTINUOUS, OFF_POLICY),
        (TD3, CONTINUOUS, OFF_POLICY),
        (DDPG, CONTINUOUS, OFF_POLICY),
        (DQN, DISCRETE, OFF_POLICY),
        (PPO, CONTINUOUS, ON_POLICY),
        (PPO, DISCRETE, ON_POLICY),
        (A2C, DISCRETE, {}),
    ],
)
def test_every_kind_of_agent_acts_as_it_predicts_and_adapts(kind, actions, settings, layout):
    env = Noise(actions, layout)
    check(train(kind, env, **settings), env, layout)


def test_an_agent_acts_as_it_predicts_and_adapts():
    env = Noise(CONTINUOUS)
    check(train(PPO, env, **ON_POLICY), env)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize(("kind", "actions"), [(SAC, CONTINUOUS), (PPO, CONTINUOUS), (PPO, DISCRETE)])
def test_pictures_beside_vectors_and_numbers_are_put_together_as_the_agent_does(kind, actions, layout):
    env = Noise(actions, layout, "dictionary")
    agent = train(kind, env, "MultiInputPolicy", **(OFF_POLICY if kind is SAC else ON_POLICY))
    check(agent, env, layout)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"use_sde": True},
        {"policy_kwargs": {"squash_output": True}, "use_sde": True},
        {"policy_kwargs": {"share_features_extractor": False}},
    ],
)
def test_the_variants_of_an_actor_critic_act_as_they_predict(settings):
    env = Noise(CONTINUOUS)
    check(train(PPO, env, **ON_POLICY, **settings), env)


@pytest.mark.slow
def test_soft_actor_critic_with_state_dependent_exploration_acts_as_it_predicts():
    env = Noise(CONTINUOUS)
    check(train(SAC, env, use_sde=True, **OFF_POLICY), env)


def test_pictures_that_are_normalized_already_are_left_as_they_are():
    env = Noise(CONTINUOUS, "CHW", "normalized")
    kwargs = {"normalize_images": False, "features_extractor_kwargs": {"features_dim": 16, "normalized_image": True}}
    torch.set_num_threads(1)
    agent = PPO("CnnPolicy", env, seed=0, device="cpu", policy_kwargs=kwargs, **ON_POLICY).learn(16)
    policy = from_sb3(agent, layout="CHW")
    assert (policy.cameras[0].dtype, policy.cameras[0].low, policy.cameras[0].high) == ("float32", 0.0, 1.0)
    check(agent, env, "CHW")


@pytest.mark.parametrize(("channels", "frame"), [(1, 1), (3, 3), (4, 1), (9, 3)])
def test_whole_frames_of_three_are_taken_to_be_coloured_and_others_grey(channels, frame):
    agent = train(PPO, Noise(DISCRETE, channels=channels), **ON_POLICY)
    camera = from_sb3(agent).cameras[0]
    assert (camera.frame_channels, camera.shape) == (frame, (SIZE, SIZE, channels))
    assert from_sb3(agent, frame_channels=1).cameras[0].frame_channels == 1


def test_layers_that_move_are_the_first_of_the_agents_own():
    env = Noise(CONTINUOUS)
    policy = from_sb3(train(PPO, env, **ON_POLICY))
    policy.fitted = True
    config = dataclasses.replace(UNGUARDED, moves="convolutions", layers=1)
    names = AdaptivePolicy(policy, config).parameter_names
    assert names == ["encoder.cnn.0.weight", "encoder.cnn.0.bias"]


def test_an_agent_that_learns_on_does_not_change_the_policy():
    env = Noise(CONTINUOUS)
    agent = train(PPO, env, **ON_POLICY)
    policy = FrozenPolicy(from_sb3(agent))
    obs, _ = env.reset(seed=1)
    before = policy.act(obs)
    agent.learn(32)
    np.testing.assert_array_equal(policy.act(obs), before)


def test_a_restored_agent_acts_as_it_predicts(tmp_path):
    env = Noise(CONTINUOUS)
    train(PPO, env, **ON_POLICY).save(tmp_path / "agent")
    check(PPO.load(tmp_path / "agent", device="cpu"), env)


class Own(BaseFeaturesExtractor):
    """A user's extractor of features over a dictionary."""

    def __init__(self, space: gym.spaces.Dict) -> None:
        super().__init__(space, 5)
        self.linear = nn.Linear(5, 5)

    def forward(self, obs):
        return self.linear(obs["joints"].float())


class Further(CombinedExtractor):
    """One that computes on with what the usual one puts side by side."""

    def __init__(self, space: gym.spaces.Dict) -> None:
        super().__init__(space, cnn_output_dim=8)
        self.further = nn.Tanh()

    def forward(self, obs):
        return self.further(super().forward(obs))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: object(), TypeError, "not an agent of stable-baselines3: object"),
        (lambda: PPO("MlpPolicy", Noise(CONTINUOUS, kind="vector")), ValueError, "no pictures among the observations"),
        (lambda: PPO("CnnPolicy", Noise(gym.spaces.MultiBinary(2))), ValueError, "action_space must be Discrete"),
        *(
            (
                lambda kind=kind: PPO(
                    "MultiInputPolicy",
                    Noise(CONTINUOUS, kind="dictionary"),
                    policy_kwargs={"features_extractor_class": kind},
                ),
                TypeError,
                "unknown kind of features extractor",
            )
            for kind in (Own, Further)
        ),
    ],
)
def test_what_cannot_be_deployed_is_refused_with_what_is_wrong(make, error, message):
    with pytest.raises(error, match=message):
        from_sb3(make())
