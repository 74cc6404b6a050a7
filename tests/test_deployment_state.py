import dataclasses
import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import SMALL, make_agent
from saver import make_policy, numbers

from pad.deployment import NO_GUARDS, AdaptationConfig, AdaptivePolicy, Camera, state
from pad.deployment.torch_policy import TorchPolicy
from pad.encoder import EncoderConfig

ROOT = Path(__file__).parents[1]
CONFIG = AdaptationConfig(batch_size=4, memory=4, reset="never", guards=NO_GUARDS)
GUARDED = AdaptationConfig(batch_size=4, memory=4, reset="never", learning_rate=1e-3)


@pytest.fixture(autouse=True)
def fitted(monkeypatch):
    """What a head infers does not matter here."""
    monkeypatch.setattr(TorchPolicy, "fitted", property(lambda _: True, lambda *_: None), raising=False)


def learned(agent, transition, config=CONFIG, steps: int = 3) -> AdaptivePolicy:
    policy = AdaptivePolicy(agent, config)
    for _ in range(steps):
        policy.observe(*transition)
    return policy


def flat(snapshot) -> dict[str, torch.Tensor]:
    tensors = {f"{part}/{name}": t for part in ("weights", "online") for name, t in snapshot[part].items()}
    for index, slots in snapshot["optimizer"]["state"].items():
        tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in slots.items()}
    return tensors


def same(first, second) -> bool:
    a, b = flat(first), flat(second)
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "states" / "arm.safetensors"


@pytest.mark.parametrize("moves", ["color", "color_and_detail", "convolutions", "convolutions_and_head"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_what_was_learned_comes_back_whole(agent, transition, path, moves, optimizer):
    config = AdaptationConfig(moves=moves, optimizer=optimizer, batch_size=4, reset="never", guards=NO_GUARDS)
    policy = learned(agent, transition, config)
    policy.save(path)
    other = AdaptivePolicy(agent, config)
    other.load(path)
    assert same(other.snapshot(), policy.snapshot())
    assert (other.act(transition[0]) == policy.act(transition[0])).all()


@pytest.mark.parametrize("moves", ["color", "convolutions_and_head"])
def test_learning_goes_on_as_if_it_had_never_been_broken_off(transition, path, moves):
    # Crops of the whole picture and a memory of one: nothing is drawn, so both learn from the same.
    encoder = EncoderConfig(crop_size=24, filters=8, strides=(2, 1, 1), shared_layers=2, projection=12)
    agent = make_agent(config=type(SMALL)(encoder, hidden=16))
    config = AdaptationConfig(moves=moves, batch_size=2, memory=1, reset="never", guards=NO_GUARDS)
    unbroken = learned(agent, transition, config, steps=6)
    learned(agent, transition, config, steps=3).save(path)
    later = AdaptivePolicy(agent, config)
    later.load(path)
    for _ in range(3):
        later.observe(*transition)
    assert same(later.snapshot(), unbroken.snapshot())


def test_what_was_loaded_lies_in_memory_as_convolutions_read_it(agent, transition, path):
    config = dataclasses.replace(CONFIG, moves="convolutions")
    learned(agent, transition, config).save(path)
    policy = AdaptivePolicy(agent, config)
    policy.load(path)
    learner = policy._learner
    for number, parameter in enumerate(learner.moving.values()):
        strides = {tensors[number].stride() for tensors in (learner.trained, learner.weights, learner.online)}
        moments = learner._step.optimizer.state[parameter]
        assert strides == {moments[name].stride() for name in ("exp_avg", "exp_avg_sq")}
        assert len(strides) == 1


def test_weights_on_trial_are_not_yet_in_use_after_loading(agent, transition, path):
    config = AdaptationConfig(
        batch_size=4,
        reset="never",
        guards=type(CONFIG.guards)(frames=False, gate=None, gate_features=None, gate_colors=None, trial=100),
    )
    policy = learned(agent, transition, config)
    policy.save(path)
    other = AdaptivePolicy(agent, config)
    other.load(path)
    snapshot = other.snapshot()
    assert all(w.equal(t) for w, t in zip(snapshot["weights"].values(), other._learner.trained, strict=True))
    assert not all(w.equal(s) for w, s in zip(*(snapshot[p].values() for p in ("weights", "online")), strict=True))


def test_a_state_is_saved_while_it_is_learned_in_the_background(agent, transition, path):
    with AdaptivePolicy(agent, CONFIG, adaptation="background") as policy:
        for _ in range(20):
            policy.observe(*transition)
            policy.save(path)
            AdaptivePolicy(agent, CONFIG).load(path)


def test_that_a_policy_has_given_up_is_part_of_its_state(agent, transition, path):
    policy = learned(agent, transition)
    policy._learner.given_up = True
    policy.save(path)
    other = AdaptivePolicy(agent, CONFIG)
    other.load(path)
    assert other.observe(*transition)["updates"] == 0


def damage(path: Path, cut: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])


def about(path: Path, **changes) -> None:
    """Write the file again with other metadata."""
    with safetensors.safe_open(path, "pt") as file:
        known = json.loads(file.metadata()["pad"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    safetensors.torch.save_file(tensors, path, {"pad": json.dumps({**known, **changes})})


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda p: damage(p, 0), "is no adapted state"),
        (lambda p: damage(p, 0.3), "is no adapted state"),
        (lambda p: damage(p, 0.99), "is no adapted state"),
        (lambda p: p.write_text("hello"), "is no adapted state"),
        (lambda p: p.write_bytes(os.urandom(4000)), "is no adapted state"),
        (lambda p: safetensors.torch.save_file({"a": torch.zeros(3)}, p), "is no adapted state"),
        (lambda p: safetensors.torch.save_file({"a": torch.zeros(3)}, p, {"pad": "[]"}), "is no adapted state"),
        (lambda p: about(p, format=None), "is no adapted state"),
        (lambda p: about(p, plain=3), "is no adapted state"),
        (lambda p: about(p, format=99), "has format 99, this version reads 2: update pad"),
        (lambda p: about(p, format=1, opportunities=None), "it has format 1, this version reads 2: begin from the"),
        (lambda p: about(p, origin="0"), "was learned from other trained weights"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_in_one_line_that_names_it(agent, transition, path, break_it, message):
    policy = learned(agent, transition)
    policy.save(path)
    before = policy.snapshot()
    break_it(path)
    with pytest.raises(ValueError, match=message) as error:
        policy.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert same(policy.snapshot(), before)


def test_a_file_that_is_not_there_is_named(agent, path):
    with pytest.raises(FileNotFoundError, match=r"no adapted state .*arm\.safetensors"):
        AdaptivePolicy(agent, CONFIG).load(path)


def test_values_that_are_not_numbers_are_refused(agent, transition, path):
    policy = learned(agent, transition)
    policy._learner.online[0].fill_(float("nan"))
    policy.save(path)
    with pytest.raises(ValueError, match="holds NaN or infinite values"):
        AdaptivePolicy(agent, CONFIG).load(path)


def test_the_state_of_another_policy_is_refused(agent, transition, path):
    learned(agent, transition).save(path)
    with pytest.raises(ValueError, match="the state moves .*color_matrix.*, this policy .*convolutions"):
        AdaptivePolicy(agent, AdaptationConfig(moves="convolutions", guards=NO_GUARDS)).load(path)
    learned(agent, transition, AdaptationConfig(moves="convolutions", guards=NO_GUARDS)).save(path)
    with pytest.raises(ValueError, match="other trained weights than this policy's"):
        AdaptivePolicy(make_agent(seed=1), AdaptationConfig(moves="convolutions", guards=NO_GUARDS)).load(path)


def test_a_refused_snapshot_changes_nothing(agent, transition):
    policy = learned(agent, transition)
    before = policy.snapshot()
    other = learned(agent, transition, AdaptationConfig(moves="convolutions", guards=NO_GUARDS)).snapshot()
    with pytest.raises(ValueError, match="the state moves"):
        policy.restore(other)
    assert same(policy.snapshot(), before)


def test_the_state_of_another_optimizer_is_refused(agent, transition, path):
    learned(agent, transition).save(path)
    other = AdaptivePolicy(agent, AdaptationConfig(optimizer="sgd", guards=NO_GUARDS))
    with pytest.raises(ValueError, match="another optimizer than sgd"):
        other.load(path)


def test_nothing_but_the_state_is_left(agent, transition, path):
    policy = learned(agent, transition)
    for _ in range(3):
        policy.save(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_a_killed_saver_left_goes_with_the_next_save_and_that_of_a_living_one_stays(agent, transition, path):
    policy = learned(agent, transition)
    policy.save(path)
    gone = subprocess.Popen(["true"])
    gone.wait()
    living = path.parent / f".{path.name}.{os.getppid()}.new"
    foreign = [path.parent / name for name in (".other.safetensors.1.new", f".{path.name}.notes.new")]
    for file in (path.parent / f".{path.name}.{gone.pid}.new", living, *foreign):
        file.write_text("x")
    policy.save(path)
    assert {file.name for file in path.parent.iterdir()} == {path.name, living.name, *(file.name for file in foreign)}


@pytest.fixture
def saved(agent, transition, path):
    policy = learned(agent, transition)
    policy.save(path)
    return policy, policy.snapshot()


def assert_only(agent, path, state) -> None:
    """The file holds that state, and nothing else lies beside it."""
    other = AdaptivePolicy(agent, CONFIG)
    other.load(path)
    assert same(other.snapshot(), state)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_a_full_disk_leaves_the_old_state(agent, transition, path, saved, monkeypatch, step):
    policy, before = saved

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    policy.observe(*transition)
    monkeypatch.setattr(Path, step, full)
    with pytest.raises(OSError, match="No space left"):
        policy.save(path)
    monkeypatch.undo()
    assert_only(agent, path, before)


def test_a_disk_that_takes_half_a_file_leaves_the_old_state(agent, transition, path, saved):
    policy, before = saved
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            policy.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert_only(agent, path, before)


def test_a_state_is_read_while_others_are_put_in_its_place(agent, transition, path, saved):
    policy, _ = saved
    stop = threading.Event()

    def save() -> None:
        while not stop.is_set():
            policy.save(path)

    thread = threading.Thread(target=save)
    thread.start()
    try:
        for _ in range(20):
            state.load_state(path)
    finally:
        stop.set()
        thread.join()


def test_the_digest_of_weights_changes_with_any_of_them():
    weights = (torch.zeros(2, 3), torch.ones(3))
    others = [(torch.zeros(3, 2), torch.ones(3)), (torch.zeros(2, 3), torch.tensor(np.array([1.0, 1, 2], np.float32)))]
    assert state.digest(weights) == state.digest(tuple(weight.clone() for weight in weights))
    assert len({state.digest(weights), *(state.digest(other) for other in others)}) == 3


@pytest.mark.slow
def test_whenever_a_saver_is_killed_there_is_a_whole_state(path):
    path.parent.mkdir()
    done = path.with_name("done")
    done.touch()
    draw, last, half_written = random.Random(0), 0, 0
    policy = make_policy()
    with subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "saver.py"), str(path), str(done)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        for kill in range(200):
            server.stdin.write(f"{last}\n")
            server.stdin.flush()
            child = int(server.stdout.readline())
            while kill == 0 and not path.exists():  # before the first save there is nothing to be whole
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.05))
            os.kill(child, signal.SIGKILL)
            while Path(f"/proc/{child}").exists():  # until it is gone, what it has written is not yet all
                time.sleep(0.0005)
            announced = max(last, int((done.read_text().split() or [0])[-1]))
            policy.load(path)
            (found,) = numbers(policy.snapshot())
            assert found in (announced, announced + 1), kill
            half_written += (path.parent / f".{path.name}.{child}.new").exists()
            last = int(found)
        server.stdin.close()
    assert half_written > 20, f"only {half_written} of 200 kills met a saver that was writing"
    policy.save(path)
    assert {file.name for file in path.parent.iterdir()} == {path.name, done.name}


def test_a_state_of_what_moves_is_refused_by_a_policy_that_differs_in_what_does_not(agent, transition, path):
    policy = learned(agent, transition)
    assert policy.parameter_names == ["encoder.color_matrix", "encoder.color_offset"]
    policy.save(path)
    other = AdaptivePolicy(make_agent(seed=1), CONFIG)
    with pytest.raises(ValueError, match="other trained weights than this policy's"):
        other.load(path)
    with pytest.raises(ValueError, match="began from the weights of another policy"):
        other.restore(policy.snapshot())


def test_a_loaded_state_keeps_to_the_settings_of_who_loads_it(agent, transition, path):
    policy = learned(agent, transition, steps=20)
    policy.save(path)
    drift = policy.report()["drift"]
    guards = dataclasses.replace(CONFIG.guards, drift=drift / 2)
    other = AdaptivePolicy(agent, dataclasses.replace(CONFIG, learning_rate=1e-5, guards=guards))
    other.load(path)
    assert other.report()["drift"] == pytest.approx(drift / 2)
    assert [group["lr"] for group in other._learner._step.optimizer.param_groups] == [1e-5]


def test_a_snapshot_that_is_none_is_refused(agent):
    with pytest.raises(ValueError, match="no state of a policy: it lacks averaged, given_up"):
        AdaptivePolicy(agent, CONFIG).restore({})


class Tied(torch.nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 3, 2)
        self.again = self.first

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.again(pictures))


def test_what_a_layer_under_two_names_has_learned_comes_back_after_a_restart(path):
    camera, head = Camera((3, 16, 20)), torch.nn.Linear(4 * 7 * 9, 2)
    act = lambda features, _: torch.tanh(head(features.flatten(1)))[0].detach().numpy()  # noqa: E731
    policy = TorchPolicy(Tied(), act, camera, gym.spaces.Box(-1, 1, (2,)))
    config = dataclasses.replace(CONFIG, moves="convolutions")
    first, second = AdaptivePolicy(policy, config), AdaptivePolicy(policy, config)
    rng = np.random.default_rng(0)
    for _ in range(3):
        obs, next_obs = rng.integers(256, size=(2, 3, 16, 20), dtype=np.uint8)
        first.observe(obs, np.zeros(2, np.float32), next_obs)
    first.save(path)
    second.load(path)
    assert same(first.snapshot(), second.snapshot())


def test_a_state_of_a_pytorch_whose_optimizer_had_fewer_settings_is_taken(agent, transition):
    policy = learned(agent, transition)
    snapshot = policy.snapshot()
    for group in snapshot["optimizer"]["param_groups"]:
        del group["decoupled_weight_decay"], group["foreach"]
    other = AdaptivePolicy(agent, CONFIG)
    other.restore(snapshot)
    assert same(other.snapshot(), policy.snapshot())
    for each in (policy, other):
        each._learner._generator.manual_seed(1)
        each._learner._memory.clear()
        each.observe(*transition)
    assert same(other.snapshot(), policy.snapshot())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda o: o["state"][0].update(exp_avg=torch.zeros(7)), r"exp_avg of shape \(7,\) for parameter 0"),
        (lambda o: o["state"].update({9: o["state"].pop(0)}), "moves parameter 9, there are 2"),
        (lambda o: o["param_groups"][0].update(params=[0]), "does not move 2 parameters"),
        (lambda o: o["param_groups"][0].pop("params"), "does not move 2 parameters"),
        (lambda o: o["state"][1].pop("exp_avg"), "lacks exp_avg of parameter 1"),
        (lambda o: o["param_groups"][0].pop("betas"), "another optimizer than adam: sgd"),
    ],
)
def test_a_state_whose_optimizer_does_not_fit_is_refused(agent, transition, spoil, message):
    policy = learned(agent, transition)
    before, snapshot = policy.snapshot(), policy.snapshot()
    spoil(snapshot["optimizer"])
    with pytest.raises(ValueError, match=message):
        policy.restore(snapshot)
    assert same(policy.snapshot(), before)
