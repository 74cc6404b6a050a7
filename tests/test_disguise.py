import dataclasses
import pickle

import numpy as np
import pytest
import torch
from conftest import make_agent
from test_training import make_layered_env

from pad.cloning import CloneConfig
from pad.disguise import LENGTH, Disguise
from pad.expert import Expert
from pad.training.collection import Plan, collect

PLAN = Plan(episode_seed=1, noise_seed=(1,), by_student=True, noise=0.0, decisions=4)


def observations(count: int = 4) -> list[np.ndarray]:
    """Of a scene in which nothing moves: stacks of three frames, and a layer of sky above things."""
    picture = np.random.default_rng(0).integers(256, size=(3, 12, 12), dtype=np.uint8)
    layers = np.zeros((1, 12, 12), np.uint8)
    layers[:, :6] = 2
    return [np.concatenate([picture, picture, picture, layers])] * count


@pytest.mark.parametrize("kind", ["random_convolution", "color_jitter"])
def test_what_stands_still_looks_the_same_for_a_whole_episode_in_other_colours(kind):
    disguise, plain = Disguise(kind, 3, True, seed=1), observations()[0][:9]
    shown = [disguise(obs) for obs in observations()]
    assert all(np.array_equal(view, shown[0]) for view in shown)
    assert shown[0].shape == plain.shape
    assert shown[0].dtype == np.uint8
    assert (shown[0] != plain).mean() > 0.5


def test_a_film_plays_behind_things_and_then_backwards():
    for seed in range(9):
        disguise = Disguise("random_background", 3, True, seed)
        shown = [disguise(obs) for obs in observations(2 * LENGTH + 1)]
        things, sky = [view[:, 7:] for view in shown], [view[:, :5] for view in shown]
        assert all(np.array_equal(view, things[0]) for view in things)
        frames = [view[-3:] for view in sky]
        assert np.array_equal(frames[LENGTH], frames[LENGTH - 2])
        assert np.array_equal(frames[2 * LENGTH - 2], frames[0])
        if not np.array_equal(frames[1], frames[0]):
            break
    else:
        raise AssertionError("no film of nine moves")
    # Stacked as an environment stacks them: the first frame three times, then the newest last.
    assert all(np.array_equal(part, frames[0]) for part in np.split(sky[0], 3))
    assert np.array_equal(sky[2], np.concatenate(frames[:3]))


def test_a_disguise_is_decided_by_its_seed_and_leaves_other_random_numbers_alone():
    disguise, other = Disguise("random_overlay", 3, False, seed=5), Disguise("random_overlay", 3, False, seed=6)
    sent = pickle.loads(pickle.dumps(disguise))
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    obs = observations()[0][:9]
    seen = disguise(obs)
    assert torch.rand(3).equal(expected)
    assert np.array_equal(sent(obs), seen)
    assert not np.array_equal(other(obs), seen)


def test_a_disguise_may_show_given_pictures():
    blue = torch.tensor([0, 0, 255], dtype=torch.uint8)[None, :, None, None].expand(1, 3, 5, 7)
    shown = Disguise("random_background", 3, True, 1, blue)(observations()[0])
    assert (shown.reshape(3, 3, 12, 12)[:, :, :5] == blue[0, :, :1, :1].numpy()).all()


def test_the_driver_is_disguised_and_the_recording_is_not(monkeypatch):
    agent, expert = make_agent(critic=False), Expert(2, 2, 8)
    seen: list[np.ndarray] = []
    act = agent.act
    monkeypatch.setattr(agent, "act", lambda obs: (seen.append(obs), act(obs))[1])
    plan = dataclasses.replace(PLAN, disguise=Disguise("random_background", 3, True, seed=2))
    trajectory = collect(make_layered_env(), agent, expert, plan, layered=True)
    plain = collect(make_layered_env(), agent, expert, PLAN, layered=True)
    assert np.array_equal(trajectory.first_obs, plain.first_obs)
    again = dataclasses.replace(PLAN, disguise=Disguise("random_background", 3, True, seed=2))
    collected = [trajectory.first_obs, *(t["next_obs"] for t in trajectory.transitions)]
    for obs, view in zip(collected, seen[:4], strict=False):
        assert np.array_equal(again.disguise(obs), view)
        assert not np.array_equal(obs[:9], view)
    for transition, view in zip(trajectory.transitions, seen, strict=False):
        assert np.array_equal(transition["action"], act(view))


def test_a_share_of_disguised_episodes_needs_augmentations():
    with pytest.raises(ValueError, match="name augmentations too"):
        CloneConfig(disguised_share=0.5)
    with pytest.raises(ValueError, match="disguised_share must be from 0 to 1, got 2.0"):
        CloneConfig(disguised_share=2.0, augmentations=("color_jitter",))
