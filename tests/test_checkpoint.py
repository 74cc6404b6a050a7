import dataclasses
import pickle
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml
from conftest import SMALL, make_agent

from pad import checkpoint
from pad.calibration import Calibration, FeatureRange
from pad.checkpoint import (
    Checkpoint,
    copied,
    find_checkpoint,
    load_checkpoint,
    load_train_state,
    save_checkpoint,
)
from pad.files import replace_folder

FEATURES = FeatureRange((1.0, 2.0), ((1.0, 0.0), (0.0, 1.0)), (1.0,) * 5)
CALIBRATION = Calibration(0.01, (0.04, 0.03, 0.02, 0.02, 0.02), 3, FEATURES)


@pytest.fixture
def saved(tmp_path, agent):
    folder = tmp_path / "run" / "checkpoint"
    save_checkpoint(folder, Checkpoint(agent, {"task": "x"}, {"seed": 3}), {"step": 5, "rng": torch.get_rng_state()})
    return folder


def test_an_agent_comes_back_as_it_was(saved, agent, transition):
    loaded = load_checkpoint(saved)
    assert (loaded.agent.act(transition[0]) == agent.act(transition[0])).all()
    assert loaded.env == {"task": "x"}
    assert loaded.about == {"seed": 3}
    assert load_train_state(saved)["step"] == 5


def test_a_run_is_found_by_its_folder(saved):
    assert find_checkpoint(saved.parent) == saved


@pytest.mark.parametrize("critic", [True, False])
def test_an_agent_without_critic_or_head_comes_back_without(tmp_path, critic):
    config = dataclasses.replace(SMALL, self_supervised=critic)
    save_checkpoint(tmp_path / "c", Checkpoint(make_agent(config=config, critic=critic)))
    loaded = load_checkpoint(tmp_path / "c").agent
    assert (loaded.critic is not None) == critic
    assert (loaded.inverse_dynamics is not None) == critic


def test_half_precision_halves_the_file_and_hardly_changes_the_action(tmp_path, agent, transition):
    save_checkpoint(tmp_path / "full", Checkpoint(agent))
    save_checkpoint(tmp_path / "half", Checkpoint(agent), half=True)
    full, half = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half"))
    assert half < 0.6 * full
    action = load_checkpoint(tmp_path / "half").agent.act(transition[0])
    assert action == pytest.approx(agent.act(transition[0]), abs=1e-2)


def test_the_last_whole_checkpoint_is_found_after_a_crash_between_two_renames(saved):
    saved.rename(saved.with_name("checkpoint.old"))
    assert load_checkpoint(saved).about == {"seed": 3}
    assert load_checkpoint(saved.parent).about == {"seed": 3}


@pytest.mark.parametrize("limit", [1_000, 20_000])
def test_a_full_disk_leaves_the_last_checkpoint_and_nothing_beside_it(saved, agent, limit):
    """A file that may not grow beyond a limit fails as one on a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(saved, Checkpoint(agent, {}, {"seed": 4}), {"weights": torch.zeros(20_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert load_checkpoint(saved).about == {"seed": 3}
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def truncate(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit(folder, **changes):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: truncate(f, "model.safetensors"), "does not hold this agent's weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "does not hold this agent's weights"),
        (lambda f: edit(f, format=99), "has format 99, this version reads up to 1"),
        (lambda f: edit(f, format="x"), "not the config of a PAD checkpoint"),
        (lambda f: edit(f, action_size=5), "does not hold this agent's weights"),
        (lambda f: edit(f, agent={"hiden": 1}), "does not describe an agent"),
        (lambda f: edit(f, obs_shape=3), "not the config of a PAD checkpoint: obs_shape is 3"),
        (lambda f: edit(f, obs_shape=[9, "x", 24]), "does not describe an agent"),
        (lambda f: edit(f, action_size=1.9), "not the config of a PAD checkpoint: action_size is 1.9"),
        (lambda f: edit(f, about=3), "not the config of a PAD checkpoint: about is 3"),
        (lambda f: edit(f, env=[1]), r"not the config of a PAD checkpoint: env is \[1\]"),
        (lambda f: (f / "config.yaml").write_text("a: ["), "is not YAML"),
        (lambda f: (f / "config.yaml").write_text("hello"), "not the config of a PAD checkpoint"),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_refused_in_one_line(saved, damage, message):
    damage(saved)
    with pytest.raises(ValueError, match=message) as error:
        load_checkpoint(saved)
    assert "\n" not in str(error.value)


def test_a_foreign_state_of_training_is_told(saved):
    torch.save([1, 2], saved / "train_state.pt")
    with pytest.raises(ValueError, match="holds no state of a training run"):
        load_train_state(saved)


def test_a_folder_never_takes_the_place_of_one_in_which_it_lies(saved, monkeypatch):
    (saved / "inner").mkdir()
    with pytest.raises(ValueError, match="in which it lies"):
        replace_folder(saved / "inner", saved)
    fresh = saved.with_name("fresh")
    fresh.mkdir()
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path == fresh:
            raise OSError(5, "the disk does not answer")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="does not answer"):
        replace_folder(fresh, saved)
    assert load_checkpoint(saved).about == {"seed": 3}


def test_weights_that_are_not_numbers_are_refused(saved, agent):
    agent.actor.policy[0].weight.data[0, 0] = float("nan")
    save_checkpoint(saved, Checkpoint(agent))
    with pytest.raises(ValueError, match="NaN or infinite"):
        load_checkpoint(saved)


def test_missing_parts_are_named(saved, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at '.*nowhere'.*shipped:"):
        load_checkpoint(tmp_path / "nowhere")
    (saved / "train_state.pt").unlink()
    with pytest.raises(FileNotFoundError, match="no train_state.pt"):
        load_train_state(saved)
    (saved / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model.safetensors"):
        load_checkpoint(saved)


class Bomb:
    def __reduce__(self):
        return shutil.rmtree, ("/nonexistent",)


def test_a_train_state_executes_nothing(saved):
    (saved / "train_state.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="cannot be read"):
        load_train_state(saved)


def test_a_checkpoint_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    first, second = make_agent(), make_agent()
    save_checkpoint(tmp_path / "c", Checkpoint(first, about={"which": 1}))
    read = checkpoint._read_description

    def replace_after(path):
        description = read(path)
        monkeypatch.setattr(checkpoint, "_read_description", read)
        save_checkpoint(tmp_path / "c", Checkpoint(second, about={"which": 2}))
        return description

    monkeypatch.setattr(checkpoint, "_read_description", replace_after)
    loaded = load_checkpoint(tmp_path / "c")
    assert loaded.about == {"which": 2}
    torch.testing.assert_close(loaded.agent.state_dict(), second.state_dict())


def test_a_calibration_travels_with_the_weights(tmp_path, agent):
    agent.calibration = CALIBRATION
    save_checkpoint(tmp_path / "c", Checkpoint(agent))
    assert load_checkpoint(tmp_path / "c").agent.calibration == agent.calibration


def test_a_calibration_can_be_put_into_a_checkpoint_that_is_there(saved):
    before = load_checkpoint(saved)
    assert before.agent.calibration is None
    checkpoint.write_calibration(saved, CALIBRATION)
    after = load_checkpoint(saved)
    assert after.agent.calibration == CALIBRATION
    assert (after.env, after.about) == (before.env, before.about)
    assert load_train_state(saved)["step"] == 5


def test_a_copy_stays_what_it_was_when_a_run_puts_another_in_its_place(agent, tmp_path):
    save_checkpoint(tmp_path / "run" / "checkpoint", Checkpoint(agent, about={"seed": 1}))
    with copied(tmp_path / "run") as copy:
        save_checkpoint(tmp_path / "run" / "checkpoint", Checkpoint(agent, about={"seed": 2}))
        assert load_checkpoint(copy).about == {"seed": 1}
    assert not copy.exists()
    with pytest.raises(FileNotFoundError, match="no checkpoint at 'nowhere'"), copied("nowhere"):
        pass
