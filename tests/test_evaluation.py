import gymnasium as gym
import numpy as np
import pytest
from conftest import make_agent

from envs.gradient import make_gradient_env
from pad import evaluation
from pad.deployment import NO_GUARDS, AdaptationConfig, AdaptivePolicy, FrozenPolicy, MeasuredPolicy
from pad.evaluation import Episode, compare, run_episode, steps_per_second
from pad.seeding import episode_seed, training_seed
from pad.video import compose, write_video


def test_an_episode_is_the_sum_of_its_rewards_and_the_same_each_time(agent):
    first, second = (run_episode(make_gradient_env(), FrozenPolicy(agent), 3) for _ in range(2))
    assert first.episode_return == second.episode_return == pytest.approx(sum(first.rewards))
    assert first.steps == 10
    assert not first.frames


def test_an_adapted_episode_does_not_depend_on_those_before_it(agent):
    policy = AdaptivePolicy(agent, AdaptationConfig(batch_size=4, guards=NO_GUARDS))
    alone = run_episode(make_gradient_env(), policy, 3)
    run_episode(make_gradient_env(), policy, 4)
    again = run_episode(make_gradient_env(), policy, 3)
    assert again.rewards == alone.rewards
    assert again.self_supervised_loss == alone.self_supervised_loss


def test_an_environment_that_fills_one_array_again_and_again_is_seen_as_it_was(agent):
    class InPlace(gym.ObservationWrapper):
        def observation(self, obs):
            self.array = getattr(self, "array", np.empty_like(obs))
            self.array[:] = obs
            return self.array

    config = AdaptationConfig(batch_size=4, guards=NO_GUARDS)
    plain, filled = (
        run_episode(env, AdaptivePolicy(agent, config), 3)
        for env in (make_gradient_env(), InPlace(make_gradient_env()))
    )
    assert filled.self_supervised_loss == plain.self_supervised_loss
    assert filled.rewards == plain.rewards


def test_what_is_measured_for_a_film_never_fails_where_the_policy_itself_does_not(agent):
    policy, obs = MeasuredPolicy(FrozenPolicy(agent)), make_gradient_env().reset(seed=0)[0]
    within, beyond = np.zeros(2, np.float32), np.array([5, 0], np.float32)
    assert "self_supervised_loss" in policy.observe(obs, within, obs)
    assert "self_supervised_loss" not in policy.observe(obs, beyond, obs)
    assert "self_supervised_loss" not in policy.observe(obs, within, None)


def test_no_policy_ever_receives_the_reward_or_the_state(agent):
    seen = []

    class Spy(FrozenPolicy):
        def observe(self, *args):
            seen.append(args)
            return super().observe(*args)

    run_episode(make_gradient_env(), Spy(agent), 3)
    assert all([argument.shape for argument in arguments] == [(9, 24, 24), (2,), (9, 24, 24)] for arguments in seen)


def test_episode_seeds_depend_on_number_and_seed_alone_and_never_meet_training():
    evaluation = {episode_seed(s, k) for s in range(20) for k in range(200)}
    assert len(evaluation) == 4000
    assert not evaluation & {training_seed(s, k) for s in range(20) for k in range(200)}


def episodes(returns: list[float]) -> list[Episode]:
    return [Episode(seed, float(value), 1, 1.0) for seed, value in enumerate(returns)]


def test_arms_that_met_other_episodes_are_not_compared():
    with pytest.raises(ValueError, match="same episodes"):
        compare(episodes([1, 2]), episodes([1, 2])[::-1])


@pytest.mark.parametrize("reward", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_told_with_its_place(reward):
    env = gym.wrappers.TransformReward(make_gradient_env(), lambda _: reward)
    with pytest.raises(ValueError, match=f"the reward of step 1 of the episode of seed 3 is {reward}"):
        run_episode(env, FrozenPolicy(make_agent()), 3)


def test_an_episode_that_does_not_end_is_told(monkeypatch):
    monkeypatch.setattr(evaluation, "LONG", 5)
    with pytest.warns(RuntimeWarning, match="not over after 5 decisions"):
        run_episode(make_gradient_env(), FrozenPolicy(make_agent()), 3)


def test_a_video_of_small_wide_pictures_and_negative_returns_shows_all_of_them():
    episode = Episode(0, -3.0, 2, 1.0, rewards=[-1.0, -2.0], frames=[np.full((20, 30, 3), 200, np.uint8)] * 2)
    frame = list(compose({"frozen": episode, "adapting": episode}, "a title longer than the picture is wide " * 5))[-1]
    bright = (frame == 200).all(-1)
    assert bright.sum(1).max() == 2 * 360  # each picture is 12 times as large, to its right edge
    assert bright.sum(0).max() == 240
    curve = (frame == (86, 180, 233)).all(-1) | (frame == (230, 159, 0)).all(-1)
    assert not curve[24:264].any()  # none runs over the pictures


def test_speed_counts_all_steps_over_all_seconds():
    assert steps_per_second([Episode(0, 0.0, 10, 2.0), Episode(1, 0.0, 30, 2.0)]) == pytest.approx(10)


def test_the_video_shows_both_arms_with_their_curves(tmp_path):
    agent = make_agent()
    ungated = AdaptationConfig(guards=NO_GUARDS)
    arms = {
        "frozen": run_episode(make_gradient_env(), MeasuredPolicy(FrozenPolicy(agent)), 3, record=True),
        "adapting": run_episode(make_gradient_env(), AdaptivePolicy(agent, ungated), 3, record=True),
    }
    frames = list(compose(arms, "test"))
    assert len(frames) == 10
    height, width, _ = frames[0].shape
    assert height % 2 == 0
    assert width % 2 == 0
    assert (frames[0] != frames[-1]).any()
    path = tmp_path / "deep" / "video.mp4"
    write_video(path, frames, 10)
    assert path.stat().st_size > 1000
