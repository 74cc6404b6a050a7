"""What differs on a GPU: captured steps, streams, where state lies."""

import dataclasses
import warnings
from copy import deepcopy

import numpy as np
import pytest
import torch
from conftest import make_agent

from pad import cuda_graph
from pad.deployment import ADAPTATIONS, NO_GUARDS, AdaptationConfig, AdaptivePolicy, FrozenPolicy
from pad.sac import SAC, SACConfig
from pad.strong import StrongAugmenter
from pad.windows import Windows

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]
UNGUARDED = dataclasses.replace(ADAPTATIONS["default"], guards=NO_GUARDS, memory=4)
SETTINGS = {
    "paper": ADAPTATIONS["paper"],
    "color": UNGUARDED,
    "every offset": dataclasses.replace(UNGUARDED, crop_grid="pixel", moves="convolutions"),
    "filter": dataclasses.replace(UNGUARDED, moves="color_and_detail"),
    "one transition a crop": dataclasses.replace(UNGUARDED, transitions=None),
    "sgd": dataclasses.replace(UNGUARDED, optimizer="sgd"),
    "drift": dataclasses.replace(UNGUARDED, guards=dataclasses.replace(NO_GUARDS, drift=0.02, average=0.5)),
}


@pytest.fixture(autouse=True)
def _exact_convolutions():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a step that cannot be captured warns
        yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def on_cuda(batch):
    """The batch there."""
    return dataclasses.replace(batch, **{n: part.cuda() for n, part in vars(batch).items() if n != "extras"})


def stream(count, seed=0):
    """Transitions of a camera that shows noise."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(256, size=(count + 1, 9, 24, 24), dtype=np.uint8)
    return [(frames[i], rng.uniform(-1, 1, 2).astype(np.float32), frames[i + 1]) for i in range(count)]


def learn(policy, transitions):
    return [policy.observe(*transition).get("self_supervised_loss") for transition in transitions]


def assert_same_weights(one, other):
    for ours, theirs in zip(one._learner.weights, other._learner.weights, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs.cpu(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("config", SETTINGS.values(), ids=SETTINGS)
def test_captured_steps_move_what_steps_on_a_cpu_move(config):
    here, there = AdaptivePolicy(make_agent(), config), AdaptivePolicy(make_agent().cuda(), config)
    losses = learn(here, stream(12)), learn(there, stream(12))
    np.testing.assert_allclose(*losses, rtol=1e-3)
    assert_same_weights(here, there)
    assert there._learner._step.is_captured == (config.optimizer == "adam")


def test_a_new_episode_repeats_the_first_with_the_same_capture():
    policy = AdaptivePolicy(make_agent().cuda(), SETTINGS["paper"])
    first = learn(policy, stream(8))
    capture = policy._learner._step._step_on._capture
    policy.reset()
    np.testing.assert_allclose(learn(policy, stream(8)), first, rtol=1e-3)
    assert policy._learner._step._step_on._capture is capture is not None


@pytest.mark.parametrize(("source", "target"), [("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda")])
def test_a_state_saved_on_one_device_goes_on_on_another(tmp_path, source, target):
    whole, before, after = stream(12), stream(12)[:8], stream(12)[8:]
    config = dataclasses.replace(SETTINGS["paper"], memory=1, reset="never")
    reference = AdaptivePolicy(make_agent().to(source), config)
    learn(reference, before)
    reference.save(tmp_path / "state")
    other = AdaptivePolicy(make_agent().to(target), config)
    learn(other, whole[:6])
    other.load(tmp_path / "state")
    other._learner._generator.set_state(reference._learner._generator.get_state())
    np.testing.assert_allclose(learn(other, after), learn(reference, after), rtol=3e-2)


def test_learning_in_the_background_has_a_stream_of_its_own_and_the_same_result():
    config = dataclasses.replace(SETTINGS["color"], reset="never")
    inline = AdaptivePolicy(make_agent().cuda(), config)
    learn(inline, stream(10))
    with AdaptivePolicy(make_agent().cuda(), config, adaptation="background") as policy:
        assert policy._background._shared.stream is not None
        for transition in stream(10):
            policy.act(transition[0])
            policy.observe(*transition)
            policy._background.drain()
        policy.act(transition[2])
        assert_same_weights(policy, inline)


def test_guards_work_on_what_lies_on_the_device():
    config = dataclasses.replace(AdaptationConfig(), memory=4)
    config = dataclasses.replace(
        config, guards=dataclasses.replace(config.guards, gate_features=None, gate_colors=None, frames=False)
    )
    policies = AdaptivePolicy(make_agent(), config), AdaptivePolicy(make_agent().cuda(), config)
    losses = [learn(policy, stream(12)) for policy in policies]
    np.testing.assert_allclose(*losses, rtol=1e-3)
    assert policies[0]._learner.counts == policies[1]._learner.counts


def test_an_agent_acts_the_same_on_both_devices():
    for obs, _, _ in stream(3):
        actions = (FrozenPolicy(make_agent().to(device)).act(obs) for device in ("cpu", "cuda"))
        np.testing.assert_allclose(*actions, atol=1e-4)


def test_a_step_that_cannot_be_captured_is_made_all_the_same(monkeypatch):
    def refuse(*_):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(cuda_graph, "_Capture", refuse)
    here, there = (AdaptivePolicy(make_agent().to(device), SETTINGS["color"]) for device in ("cpu", "cuda"))
    with pytest.warns(UserWarning, match="could not be captured"):
        losses = learn(there, stream(8))
    np.testing.assert_allclose(losses, learn(here, stream(8)), rtol=1e-3)


@pytest.mark.parametrize("augmented", [False, True])
def test_captured_updates_of_actor_and_critic_are_those_that_are_not(monkeypatch, on_cuda, augmented):
    strong = on_cuda.obs.flip(0) if augmented else None
    learned = []
    for warm_up in (3, 1000):
        monkeypatch.setattr(cuda_graph, "WARM_UP", warm_up)
        torch.cuda.manual_seed(0)
        sac = SAC(make_agent().cuda(), 2, SACConfig())
        metrics = [sac.update(on_cuda, number % 2 == 0, strong) for number in range(12)]
        learned.append((sac, metrics))
    (replayed, ours), (plain, theirs) = learned
    assert all(each.is_captured for each in replayed._captured.values())
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_allclose(list(one.values()), list(other.values()), rtol=1e-2, atol=1e-3)
    for one, other in zip(replayed.networks.parameters(), plain.networks.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


def test_a_learner_restored_on_cuda_goes_on(on_cuda):
    sac = SAC(make_agent().cuda(), 2, SACConfig())
    for _ in range(8):
        sac.update(on_cuda, True)
    other = SAC(make_agent(1).cuda(), 2, SACConfig())
    for _ in range(8):
        other.update(on_cuda, True)
    other.networks.load_state_dict(sac.networks.state_dict())
    other.load_state_dict(deepcopy(sac.state_dict()))
    torch.cuda.manual_seed(1)
    expected = [sac.update(on_cuda, True) for _ in range(8)]
    torch.cuda.manual_seed(1)
    for one, metrics in zip(expected, [other.update(on_cuda, True) for _ in range(8)], strict=True):
        np.testing.assert_allclose(list(one.values()), list(metrics.values()), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", ["random_convolution", "random_overlay", "random_background"])
def test_a_strong_augmentation_is_the_same_on_both_devices(name):
    layers = torch.arange(3, dtype=torch.uint8).repeat_interleave(8)[:, None].expand(6, 4, 1, 24, 24)
    clips = torch.randint(256, (6, 4, 3, 24, 24), dtype=torch.uint8)
    clips = torch.cat([clips, layers], dim=2) if name == "random_background" else clips
    changed = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        changed.append(StrongAugmenter((name,), 3).clips(clips.to(device)).cpu().int())
    assert (changed[0] - changed[1]).abs().max() <= 2  # rounded, some of them twice


def test_windows_are_the_same_on_both_devices():
    images = torch.randint(256, (4, 9, 24, 24), dtype=torch.uint8)
    windows = Windows(torch.tensor([0, 3, 3, 1]), torch.tensor([0, 4, 2, 1]), torch.tensor([3, 0, 4, 1]), 20)
    assert windows.cut(images.cuda()).cpu().equal(windows.cut(images))
