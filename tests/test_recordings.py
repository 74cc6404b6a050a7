import gymnasium as gym
import numpy as np
import pytest
from conftest import make_agent

from envs.gradient import GradientEnv, make_gradient_env
from pad.deployment import FrozenPolicy, as_model
from pad.deployment.recordings import RecordedEpisode, load_episodes, record_episode, record_episodes


class Still:
    """A user's own policy: all it has is `act`."""

    def act(self, obs):
        return np.zeros(2, np.float32)


def test_an_episode_holds_what_was_seen_and_done(gradient_env):
    episode = record_episode(gradient_env, Still(), seed=3)
    assert (len(episode), len(episode.observations)) == (10, 11)
    assert episode.observations[0].tolist() == gradient_env.reset(seed=3)[0].tolist()
    obs, action, next_obs = list(episode.transitions())[4]
    assert obs is episode.observations[4]
    assert next_obs is episode.observations[5]
    assert action.tolist() == [0, 0]


def test_an_agent_a_model_and_a_policy_are_recorded_alike(gradient_env, agent):
    ways = (agent, as_model(agent), FrozenPolicy(agent))
    actions = [np.array(record_episode(gradient_env, way, seed=0).actions) for way in ways]
    assert np.ptp(actions, axis=0).max() == 0


def test_noise_is_the_share_of_random_actions(gradient_env):
    for noise, low, high in ((0.0, 0, 0), (0.5, 0.3, 0.7), (1.0, 1, 1)):
        actions = np.concatenate([record_episode(gradient_env, Still(), seed, noise).actions for seed in range(10)])
        assert low <= (actions != 0).any(1).mean() <= high


def test_the_same_seed_records_the_same_episode(gradient_env):
    first, second = (record_episode(gradient_env, Still(), 5, 0.5) for _ in "ab")
    assert np.array_equal(first.actions, second.actions)
    assert np.array_equal(first.observations, second.observations)


@pytest.mark.parametrize(
    "observe",
    [
        lambda step: np.full((3, 4, 4), step, np.uint8),
        lambda step: {"view": np.full((4, 4, 3), step / 9, np.float32), "joints": np.arange(3) + step},
    ],
)
@pytest.mark.parametrize("action", [np.array([0.5, -1], np.float32), np.array(2)])
def test_a_saved_episode_is_loaded_as_it_was(tmp_path, observe, action):
    episode = RecordedEpisode([observe(step) for step in range(4)], [action] * 3, 1.5)
    episode.save(tmp_path / "folder" / "episode.npz")
    loaded = load_episodes(tmp_path / "folder")[0]
    assert loaded.episode_return == 1.5
    np.testing.assert_array_equal(loaded.actions, episode.actions)
    for seen, expected in zip(loaded.observations, episode.observations, strict=True):
        np.testing.assert_equal(seen, expected)


def test_episodes_go_to_a_folder_in_order(tmp_path, gradient_env):
    record_episodes(tmp_path / "episodes", gradient_env, Still(), 3, seed=1)
    assert len(load_episodes(tmp_path / "episodes")) == 3
    with pytest.raises(FileExistsError, match="holds recorded episodes already"):
        record_episodes(tmp_path / "episodes", gradient_env, Still(), 3)


def test_an_interrupt_keeps_the_episodes_that_are_over(tmp_path):
    class Interrupted(Still):
        steps = 0

        def act(self, obs):
            self.steps += 1
            if self.steps == 25:
                raise KeyboardInterrupt
            return super().act(obs)

    with pytest.raises(KeyboardInterrupt):
        record_episodes(tmp_path, make_gradient_env(), Interrupted(), 9)
    assert [len(episode) for episode in load_episodes(tmp_path)] == [10, 10]


def test_an_episode_without_an_end_is_ended_by_a_limit_and_warned_of(tmp_path, monkeypatch):
    record_episodes(tmp_path, GradientEnv(), Still(), 2, limit=7)
    assert [len(episode) for episode in load_episodes(tmp_path)] == [7, 7]
    with pytest.raises(ValueError, match="at least one decision, got a limit of 0"):
        record_episodes(tmp_path / "none", GradientEnv(), Still(), 1, limit=0)
    monkeypatch.setattr("pad.evaluation.LONG", 5)
    with pytest.warns(RuntimeWarning, match="not over after 5 decisions"):
        record_episode(GradientEnv(), Still(), seed=0, limit=6)


def test_random_actions_are_those_that_the_policy_could_give(gradient_env):
    class Declared(Still):
        action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    endless = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    env = gym.wrappers.TransformAction(gradient_env, lambda action: action, endless)
    actions = np.concatenate([record_episode(env, Declared(), seed, noise=1.0).actions for seed in range(10)])
    assert np.abs(actions).max() <= 1
    assert actions.std() > 0.4


@pytest.mark.parametrize(("episodes", "noise"), [(0, 0.1), (1, -0.1), (1, 1.1), (1, float("nan"))])
def test_settings_that_make_no_sense_are_refused(tmp_path, gradient_env, episodes, noise):
    with pytest.raises(ValueError, match="episodes must be at least 1 and noise from 0 to 1"):
        record_episodes(tmp_path, gradient_env, Still(), episodes, noise=noise)


def test_a_file_that_is_no_episode_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no recorded episodes"):
        load_episodes(tmp_path)
    path = tmp_path / "episode.npz"
    RecordedEpisode([np.zeros(2)] * 3, [np.zeros(1)] * 2).save(path)
    whole = path.read_bytes()
    np.savez(tmp_path / "short.npz", obs=np.zeros((2, 3)), actions=np.zeros((5, 1)))
    np.savez(tmp_path / "other.npz", pictures=np.zeros(3))
    np.savez(tmp_path / "pickled.npz", obs=np.array([{}] * 3), actions=np.zeros(2))
    for name, content in (("cut", whole[:-30]), ("empty", b""), ("text", b"hello"), ("short", None), ("other", None),
                          ("pickled", None)):  # fmt: skip
        broken = tmp_path / f"{name}.npz"
        if content is not None:
            broken.write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}.npz is no recorded episode"):
            RecordedEpisode.load(broken)


def test_a_random_agent_leaves_no_half_written_file(tmp_path, gradient_env):
    record_episodes(tmp_path, gradient_env, make_agent(), 2, noise=0.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["episode_00000.npz", "episode_00001.npz"]


def test_where_actions_are_random_says_nothing_about_where_the_episode_began():
    class Begins(gym.Env):
        observation_space = gym.spaces.Box(-1, 1, (2,), np.float64)
        action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.np_random.uniform(-1, 1, 2), {}

        def step(self, action):
            return np.zeros(2), 0.0, True, False, {}

    found = [record_episode(Begins(), Still(), seed, noise=0.2) for seed in range(200)]
    begun = np.array([episode.observations[0] for episode in found])
    random = np.array([bool(np.any(episode.actions[0])) for episode in found])
    for coordinate in begun.T:
        assert coordinate[random].min() < -0.5
        assert coordinate[random].max() > 0.5


def test_a_policy_with_a_memory_is_told_that_an_episode_begins(gradient_env):
    class Counting(Still):
        def reset(self):
            self.count = 0

        def act(self, obs):
            self.count += 1
            return np.full(2, self.count / 100, np.float32)

    policy = Counting()
    for seed in range(2):
        assert record_episode(gradient_env, policy, seed).actions[0].tolist() == pytest.approx([0.01, 0.01])


def test_an_observation_of_mappings_within_a_mapping_is_refused_before_it_is_written(tmp_path):
    obs = {"image": np.zeros((3, 4, 4), np.uint8), "robot": {"q": np.zeros(2)}}
    with pytest.raises(ValueError, match="obs/robot is no array of numbers"):
        RecordedEpisode([obs, obs], [np.zeros(2)]).save(tmp_path / "episode.npz")
    assert not list(tmp_path.iterdir())
