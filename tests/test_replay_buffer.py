import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pad import replay_buffer
from pad.replay_buffer import ReplayBuffer

STACK = 3


def fill(buffer: ReplayBuffer, lengths: list[int], first: int = 0) -> dict[float, tuple]:
    """Play episodes whose every frame shows its own number; returns what each transition must look like.

    The reward names the transition.
    """
    expected, number = {}, first
    for length in lengths:
        frames = [np.full((3, 2, 2), number, np.uint8)] * STACK
        buffer.begin(np.concatenate(frames))
        for step in range(length):
            number += 1
            obs = np.concatenate(frames)
            frames = [*frames[1:], np.full((3, 2, 2), number % 256, np.uint8)]
            action = np.array([number, -number], np.float32)
            terminated = step == length - 1
            buffer.append(action, float(number), terminated, np.concatenate(frames))
            expected[float(number)] = (obs, action, terminated, np.concatenate(frames))
        number += 1
    return expected


def check(buffer: ReplayBuffer, expected: dict[float, tuple], draws: int = 64) -> set[float]:
    batch = buffer.sample(draws)
    for row, reward in enumerate(batch.reward.tolist()):
        obs, action, terminated, next_obs = expected[reward]
        assert (batch.obs[row].numpy() == obs).all()
        assert (batch.next_obs[row].numpy() == next_obs).all()
        assert (batch.action[row].numpy() == action).all()
        assert bool(batch.terminated[row]) == terminated
    return set(batch.reward.tolist())


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=12), capacity=st.integers(12, 60))
def test_every_draw_is_a_transition_that_happened_with_its_frames_stacked(lengths, capacity):
    buffer = ReplayBuffer(capacity, (3, 2, 2), 2, STACK)
    check(buffer, fill(buffer, lengths))


def test_every_transition_is_drawn_when_nothing_was_overwritten():
    buffer = ReplayBuffer(100, (3, 2, 2), 2, STACK)
    expected = fill(buffer, [4, 1, 6])
    assert check(buffer, expected, draws=2000) == set(expected)


def test_what_was_overwritten_is_never_drawn():
    buffer = ReplayBuffer(20, (3, 2, 2), 2, STACK)
    fill(buffer, [8, 8])
    recent = fill(buffer, [6, 6, 6], first=100)
    assert check(buffer, recent, draws=500) <= set(recent)


def test_a_buffer_on_disk_equals_one_in_memory(tmp_path):
    here, there = ReplayBuffer(50, (3, 2, 2), 2, STACK), ReplayBuffer(50, (3, 2, 2), 2, STACK, folder=tmp_path)
    fill(here, [5, 5]), fill(there, [5, 5])
    first, second = here.sample(32), there.sample(32)
    assert first.obs.equal(second.obs)
    assert first.reward.equal(second.reward)


def test_a_buffer_that_goes_back_draws_as_if_it_had_never_gone_on(tmp_path):
    buffer = ReplayBuffer(100, (3, 2, 2), 2, STACK, folder=tmp_path)
    expected = fill(buffer, [5, 3])
    state = buffer.state_dict()
    unbroken = [buffer.sample(8).reward.tolist() for _ in range(3)]
    fill(buffer, [7, 7], first=100)
    buffer.flush()

    resumed = ReplayBuffer(100, (3, 2, 2), 2, STACK, folder=tmp_path, seed=9)
    resumed.load_state_dict(state)
    assert [resumed.sample(8).reward.tolist() for _ in range(3)] == unbroken
    check(resumed, expected | fill(resumed, [4], first=200))


@pytest.mark.parametrize("lost", [[4], [4, 4], [2, 2, 2, 2]])
def test_a_full_ring_that_goes_back_draws_nothing_that_never_happened(tmp_path, lost):
    buffer = ReplayBuffer(20, (3, 2, 2), 2, STACK, folder=tmp_path)
    happened = fill(buffer, [5, 5, 5, 5])
    state = buffer.state_dict()
    fill(buffer, lost, first=100)
    buffer.flush()
    resumed = ReplayBuffer(20, (3, 2, 2), 2, STACK, folder=tmp_path)
    resumed.load_state_dict(state)
    happened |= fill(resumed, [2], first=200)
    check(resumed, happened, draws=2_000)


def test_a_replay_that_is_cut_off_is_refused(tmp_path):
    buffer = ReplayBuffer(10_000, (3, 2, 2), 2, STACK, folder=tmp_path)
    fill(buffer, [5])
    state = buffer.state_dict() | {"filled": 9_000}
    with pytest.raises(ValueError, match="holds 4096 slots of the replay, the checkpoint needs 9000"):
        ReplayBuffer(10_000, (3, 2, 2), 2, STACK, folder=tmp_path).load_state_dict(state)


@pytest.mark.parametrize("slots", [8, 9])
def test_files_that_are_full_to_the_last_slot_are_drawn_from(tmp_path, monkeypatch, slots):
    monkeypatch.setattr(replay_buffer, "_GROWTH", 8)
    buffer = ReplayBuffer(100, (3, 2, 2), 2, STACK, folder=tmp_path)
    expected = fill(buffer, [slots - 1])
    assert check(buffer, expected, draws=500) == set(expected)


def test_drawing_from_an_empty_buffer_is_refused():
    buffer = ReplayBuffer(10, (3, 2, 2), 2, STACK)
    buffer.begin(np.zeros((9, 2, 2), np.uint8))
    with pytest.raises(ValueError, match="no transition"):
        buffer.sample(1)


def test_a_transition_at_100x100_takes_little_more_than_one_frame(tmp_path):
    buffer = ReplayBuffer(2**20, (3, 100, 100), 1, STACK, folder=tmp_path)
    obs = np.zeros((9, 100, 100), np.uint8)
    buffer.begin(obs)
    for _ in range(4095):
        buffer.append(np.zeros(1, np.float32), 0.0, False, obs)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size / 4096 < 32_000


def test_a_full_disk_is_an_error_and_not_a_crash(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        ReplayBuffer(100, (3, 2, 2), 2, STACK, folder=tmp_path).begin(np.zeros((9, 2, 2), np.uint8))


def test_observations_that_could_not_be_put_together_again_are_refused():
    buffer = ReplayBuffer(20, (1, 2, 2), 1, STACK)
    frames = [np.full((1, 2, 2), number, np.uint8) for number in range(9)]
    with pytest.raises(ValueError, match="first frame as often as frames are stacked"):
        buffer.begin(np.concatenate([np.zeros((2, 2, 2), np.uint8), frames[1]]))
    buffer.begin(np.concatenate([frames[1]] * 3))
    buffer.append(np.zeros(1), 0.0, False, np.concatenate([frames[1], frames[1], frames[2]]))
    with pytest.raises(ValueError, match="without its first frame and with a new one last"):
        buffer.append(np.zeros(1), 0.0, False, np.concatenate([frames[3], frames[4], frames[5]]))


def saved(tmp_path) -> dict:
    buffer = ReplayBuffer(100, (3, 2, 2), 2, STACK, folder=tmp_path, extras={"state": 3})
    buffer.begin(np.zeros((9, 2, 2), np.uint8))
    for _ in range(9):
        buffer.append(np.ones(2), 1.0, False, np.zeros((9, 2, 2), np.uint8), state=np.ones(3))
    buffer.flush()
    return buffer.state_dict()


@pytest.mark.parametrize("name", ["frame", "action", "reward", "terminated", "episode", "step", "state"])
@pytest.mark.parametrize("harm", ["gone", "short"])
def test_a_replay_that_lost_a_part_is_not_filled_with_zeros(tmp_path, name, harm):
    state = saved(tmp_path)
    path = tmp_path / f"{name}.bin"
    path.unlink() if harm == "gone" else path.write_bytes(b"123")
    again = ReplayBuffer(100, (3, 2, 2), 2, STACK, folder=tmp_path, extras={"state": 3})
    with pytest.raises(ValueError, match=rf"{name}.bin holds \d slots of the replay, the checkpoint needs 10"):
        again.load_state_dict(state)


def test_a_replay_whose_folder_is_gone_is_not_begun_anew(tmp_path):
    state = saved(tmp_path / "replay")
    shutil.rmtree(tmp_path / "replay")
    again = ReplayBuffer(100, (3, 2, 2), 2, STACK, folder=tmp_path / "replay", extras={"state": 3})
    with pytest.raises(ValueError, match="holds 0 slots"):
        again.load_state_dict(state)


def test_a_ring_that_was_overwritten_as_a_whole_since_its_checkpoint_holds_nothing(tmp_path):
    buffer = ReplayBuffer(20, (3, 2, 2), 2, STACK, folder=tmp_path)
    fill(buffer, [15, 15])
    state = buffer.state_dict()
    fill(buffer, [15, 15])
    again = ReplayBuffer(20, (3, 2, 2), 2, STACK, folder=tmp_path)
    again.load_state_dict(state)
    assert len(again) == 0
    with pytest.raises(ValueError, match="no transition"):
        again.sample(4)
    expected = fill(again, [6])
    assert len(again) > 0
    assert expected
    again.sample(4)
