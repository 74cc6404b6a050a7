import os
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs import SensorShift
from envs.gradient import GradientEnv
from envs.sensors import sensor_shifts
from envs.shifts.sensor import Blur, Contrast

NAMES = sensor_shifts()


def episode(env: gym.Env, seed: int | None = 3, steps: int = 12) -> tuple[np.ndarray, list[float]]:
    obs, _ = env.reset(seed=seed)
    pictures, rewards = [obs], []
    for _ in range(steps):
        obs, reward, *_ = env.step(np.full(2, 0.1))
        pictures.append(obs)
        rewards.append(reward)
    return np.stack(pictures), rewards


@pytest.mark.parametrize("layout", ["CHW", "HWC"])
@pytest.mark.parametrize("name", NAMES)
def test_anybodys_pictures_are_shifted_and_nothing_else(name, layout):
    plain, rewards = episode(GradientEnv(layout=layout))
    seen, same_rewards = episode(SensorShift(GradientEnv(layout=layout), name))
    assert seen.shape == plain.shape
    assert seen.dtype == np.uint8
    assert (seen != plain).any()
    assert rewards == same_rewards
    untouched, _ = episode(SensorShift(GradientEnv(layout=layout), f"{name}:0"))
    assert (untouched == plain).all()


@pytest.mark.parametrize("name", NAMES)
def test_an_episode_is_the_same_whatever_ran_before(name):
    env = SensorShift(GradientEnv(), name)
    first, _ = episode(env)
    episode(env, 4)
    assert (episode(env)[0] == first).all()


def test_episodes_without_a_seed_differ_but_follow_from_the_last_seed():
    def three() -> list[np.ndarray]:
        env = SensorShift(GradientEnv(), "brightness")
        return [episode(env, seed)[0] for seed in (3, None, None)]

    first, second = three(), three()
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert len({pictures.mean() for pictures in first}) == 3


def test_a_sensor_may_fail_in_the_middle_of_an_episode():
    plain, _ = episode(GradientEnv())
    seen, _ = episode(SensorShift(GradientEnv(), "none@0, brightness@5"))
    assert (seen[:5] == plain[:5]).all()
    assert (seen[5:] != plain[5:]).any((1, 2, 3)).all()


class Reusing(gym.Wrapper):
    """Writes every picture into the same memory, as a camera's driver may."""

    def __init__(self) -> None:
        super().__init__(GradientEnv())
        self._memory = np.zeros(self.env.observation_space.shape, np.uint8)

    def reset(self, **settings):
        self._memory[:], info = self.env.reset(**settings)
        return self._memory, info

    def step(self, action):
        self._memory[:], *rest = self.env.step(action)
        return (self._memory, *rest)


def test_pictures_in_memory_that_is_used_again_are_kept_all_the_same():
    fresh, reused = (SensorShift(env, "repeated_frames") for env in (GradientEnv(), Reusing()))
    assert (episode(reused, steps=30)[0] == episode(fresh, steps=30)[0]).all()


def test_what_people_see_goes_through_the_same_sensor():
    env = SensorShift(GradientEnv(layout="HWC"), "brightness")
    obs, _ = env.reset(seed=3)
    assert (env.render() == obs).all()


class Elsewhere(gym.Wrapper):
    """Shows people the picture of another camera, of the same size."""

    def render(self):
        return np.full((24, 24, 3), 7, np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_whether_anybody_watches_does_not_change_what_the_policy_sees(name):
    alone, watched = (SensorShift(Elsewhere(GradientEnv(layout="HWC")), name) for _ in range(2))
    (first, _), (second, _) = (env.reset(seed=3) for env in (alone, watched))
    assert (first == second).all()
    for _ in range(40):
        watched.render()
        action = alone.action_space.sample()
        assert (alone.step(action)[0] == watched.step(action)[0]).all()


def test_out_of_focus_is_neither_darker_nor_lighter():
    blur = Blur()
    for blur.strength in (0.1, 0.5, 1.0):
        for level in (1, 100, 255):
            assert (blur.apply(np.full((84, 84, 3), level, np.uint8), 1) == level).all()


def test_gray_pictures_are_pictures():
    env = gym.wrappers.GrayscaleObservation(GradientEnv(layout="HWC"), keep_dim=True)
    for name in NAMES:
        assert episode(SensorShift(env, name))[0].shape[1:] == (24, 24, 1)


def test_the_wrapper_passes_gymnasiums_checks():
    check_env(gym.wrappers.TimeLimit(SensorShift(GradientEnv(), "noise + blur"), 10), skip_render_check=True)


@pytest.mark.parametrize("shift", ["camera", "color_hard", "noise + mass", "spheres"])
def test_a_shift_that_needs_a_simulator_is_refused(shift):
    with pytest.raises(ValueError, match="needs the simulator; of pictures alone: patches"):
        SensorShift(GradientEnv(), shift)


def test_observations_that_are_no_pictures_are_refused():
    with pytest.raises(ValueError, match="must be uint8 pictures"):
        SensorShift(GradientEnv("state"), "noise")
    stacked = gym.wrappers.FrameStackObservation(GradientEnv(), 3)
    flat = gym.wrappers.ReshapeObservation(stacked, (9, 24, 24))
    with pytest.raises(ValueError, match="below its frame stacking"):
        SensorShift(flat, "noise")


def test_commands_know_a_shift_of_ones_own_from_the_module_that_the_environment_names(tmp_path):
    (tmp_path / "my_shifts.py").write_text(
        "from envs.shifts import register\nfrom envs.shifts.sensor import Sensor\n\n\n"
        'class Dark(Sensor):\n    """Nothing is seen."""\n\n'
        "    def apply(self, picture, agent_step):\n        return picture * 0\n\n\n"
        "register('dark', Dark, group='sensor')\n"
    )
    code = (
        "import envs, gymnasium as gym\nfrom envs.gradient import GradientEnv\n"
        "assert envs.SensorShift(GradientEnv(), 'dark').reset(seed=0)[0].max() == 0\n"
        "assert gym.make('pad/cartpole_balance-v0', shift='dark', image_size=32).reset(seed=0)[0].max() == 0"
    )
    environment = {**os.environ, "PAD_SHIFTS": "my_shifts", "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_contrast_grows_in_some_episodes_and_falls_in_others():
    picture = np.random.default_rng(0).integers(90, 160, size=(24, 24, 3)).astype(np.uint8)
    ratios = []
    for seed in range(12):
        shift = Contrast()
        shift.begin(None, np.random.default_rng(seed))
        ratios.append(shift.apply(picture, 0).std() / picture.std())
    assert min(ratios) < 0.7
    assert max(ratios) > 1.4


def test_a_strength_grows_over_the_length_that_the_environment_tells_or_that_is_said():
    with pytest.raises(ValueError, match="say by horizon"):
        SensorShift(GradientEnv(), "brightness:0..1")
    SensorShift(GradientEnv(), "brightness:0..1@0, none@10")  # it ends by itself
    told = SensorShift(GradientEnv(), "brightness:0..1", horizon=10)
    made = gym.make("pad/cartpole_swingup-v0", image_size=24, frame_stack=1)
    assert SensorShift(made, "brightness:0..1")._horizon == made.spec.max_episode_steps
    assert told._horizon == 10
    made.close()
