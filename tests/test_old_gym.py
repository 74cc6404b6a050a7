"""Runs where the extra `old-gym` is installed; only the import is tested elsewhere."""

import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from pad.old_gym import _Straightened, from_old_gym

ROOT = Path(__file__).parents[1]
try:
    import gym
    import shimmy  # noqa: F401
except ImportError:
    gym = None
installed = pytest.mark.skipif(gym is None, reason="the extra old-gym is not installed")
STEPS = 5


def base():
    class Pixels(gym.Env):
        """A point that the action pushes, seen as a picture."""

        observation_space = gym.spaces.Box(0, 255, (9, 24, 24), np.uint8)
        action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        metadata = {"render_modes": ["rgb_array"], "render.modes": ["rgb_array"]}

        def begin(self, seed=None):
            self.steps, self.place = 0, np.random.default_rng(seed).uniform(-1, 1, 2)
            return self.look()

        def look(self):
            ramp = np.linspace(-1, 1, 24)
            picture = np.stack([np.abs(ramp - self.place[0])[None].repeat(24, 0)] * 9)
            return (100 * picture).clip(0, 255).astype(np.uint8)

        def move(self, action):
            self.steps += 1
            self.place = np.clip(self.place + 0.1 * np.asarray(action), -1, 1)
            return self.look(), 1.0, self.steps >= STEPS

    return Pixels


def env_26():
    class New(base()):
        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.begin(seed), {"options": options}

        def step(self, action):
            obs, reward, done = self.move(action)
            return obs, reward, False, done, {}

        def render(self):
            return np.zeros((4, 4, 3), np.uint8)

    return New()


def env_21():
    class Old(base()):
        _seed = None

        def seed(self, seed=None):
            self._seed = seed

        def reset(self):
            return self.begin(self._seed)

        def step(self, action):
            obs, reward, done = self.move(action)
            return obs, reward, done, {"TimeLimit.truncated": True} if done else {}

        def render(self, mode="human"):
            assert mode == "rgb_array"
            return np.zeros((4, 4, 3), np.uint8)

    return Old()


def env_between():
    """Of gym 0.25: a seed in reset, no info, four values."""

    class Between(type(env_21())):
        def reset(self, *, seed=None, return_info=False, options=None):
            return self.begin(seed)

    return Between()


def env_mixed():
    """Five values, and a reset that knows nothing."""

    class Mixed(type(env_26())):
        def reset(self):
            return self.begin()

    return Mixed()


ALL = [env_26, env_21, env_between, env_mixed]


@installed
@pytest.mark.parametrize("make", ALL)
def test_an_old_environment_runs_in_a_gymnasium_loop(make):
    env = from_old_gym(make())
    assert isinstance(env, gymnasium.Env)
    assert isinstance(env.observation_space, gymnasium.spaces.Box)
    assert isinstance(env.action_space, gymnasium.spaces.Box)
    obs, info = env.reset()
    assert isinstance(info, dict)
    assert env.observation_space.contains(obs)
    for step in range(1, STEPS + 1):
        obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert (reward, terminated, truncated) == (1.0, False, step == STEPS)
    assert env.render().shape == (4, 4, 3)
    env.close()


@installed
@pytest.mark.parametrize("make", [env_26, env_21, env_between])
def test_a_seed_reaches_an_old_environment(make):
    env = from_old_gym(make())
    first, second, other = (env.reset(seed=seed)[0] for seed in (1, 1, 2))
    assert (first == second).all()
    assert (first != other).any()


class Careless(gymnasium.Env):
    """Takes anything in reset and reads none of it; its seed has a method."""

    observation_space = action_space = gymnasium.spaces.Discrete(10_000)

    def __init__(self):
        self.rng = np.random.default_rng()

    def seed(self, seed=None):
        self.rng = np.random.default_rng(seed)

    def reset(self, **_):
        return int(self.rng.integers(10_000))


class Modern(Careless):
    seed = None

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        return super().reset()


class HandsNothingOn:
    """A wrapper whose reset takes no arguments."""

    observation_space = action_space = Careless.observation_space

    def __init__(self, env):
        self.unwrapped = env

    def reset(self):
        return self.unwrapped.reset()


@pytest.mark.parametrize("env", [Careless(), HandsNothingOn(Modern()), HandsNothingOn(Careless()), Modern()])
def test_a_seed_arrives_whatever_reset_pretends_to_take(env):
    old = _Straightened(env)
    first, again, other = (old.reset(seed=seed)[0] for seed in (1, 1, 2))
    assert first == again != other


@installed
def test_an_environment_without_a_seed_says_so():
    with pytest.warns(RuntimeWarning, match="takes no seed"):
        from_old_gym(env_mixed()).reset(seed=1)


@installed
def test_done_without_a_reason_is_a_terminal_state():
    env = env_21()
    env.move = lambda action: (env.look(), 0.0, True)
    env.step = lambda action: (*env.move(action), {})
    wrapped = from_old_gym(env)
    wrapped.reset()
    assert wrapped.step(np.zeros(2))[2:4] == (True, False)


@installed
def test_an_observation_of_two_parts_is_not_taken_for_an_observation_and_an_info():
    env = env_21()
    env.observation_space = gym.spaces.Tuple([gym.spaces.Discrete(3), gym.spaces.Dict({"a": gym.spaces.Discrete(2)})])
    env.reset = lambda: (2, {"a": 1})
    assert from_old_gym(env).reset() == ((2, {"a": 1}), {})


@installed
def test_what_gym_makes_runs_with_numpy_2():
    env = from_old_gym(gym.make("CartPole-v1"))
    env.reset(seed=0)
    assert len(env.step(env.action_space.sample())) == 5


@installed
def test_gymnasiums_wrappers_go_around_an_old_environment():
    env = gymnasium.wrappers.TimeLimit(gymnasium.wrappers.RescaleAction(from_old_gym(env_21()), -1.0, 1.0), 2)
    env.reset(seed=0)
    assert [env.step(np.zeros(2, np.float32))[3] for _ in range(2)] == [False, True]


@installed
@pytest.mark.parametrize("make", ALL)
def test_a_policy_adapts_in_an_old_environment(make):
    pytest.importorskip("torch")
    from conftest import make_agent

    from pad.deployment import NO_GUARDS, AdaptationConfig, AdaptivePolicy

    env, policy = from_old_gym(make()), AdaptivePolicy(make_agent(), AdaptationConfig(batch_size=4, guards=NO_GUARDS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        obs, _ = env.reset(seed=0)
    policy.reset()
    over, updates = False, 0
    while not over:
        action = policy.act(obs)
        next_obs, _reward, terminated, truncated, _ = env.step(action)
        updates += policy.observe(obs, action, next_obs)["updates"]
        obs, over = next_obs, terminated or truncated
    assert updates == STEPS


@pytest.mark.skipif(gym is not None, reason="the extra old-gym is installed")
def test_without_the_extra_its_name_is_told():
    with pytest.raises(ImportError, match="need the extra old-gym"):
        from_old_gym(object())


def test_the_module_needs_neither_torch_nor_a_simulator():
    code = "import pad.old_gym, sys; assert not {'torch', 'envs', 'mujoco', 'gym'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
