"""What differs on a GPU: recorded steps, streams, where state lies."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from conftest import make_agent

from pad.deployment import ADAPTATIONS, NO_GUARDS, AdaptationConfig, AdaptivePolicy, FrozenPolicy

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
        warnings.simplefilter("error", UserWarning)  # a step that cannot be recorded warns
        yield
    torch.backends.cudnn.allow_tf32 = before


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
def test_recorded_steps_move_what_steps_on_a_cpu_move(config):
    here, there = AdaptivePolicy(make_agent(), config), AdaptivePolicy(make_agent().cuda(), config)
    losses = learn(here, stream(12)), learn(there, stream(12))
    np.testing.assert_allclose(*losses, rtol=1e-3)
    assert_same_weights(here, there)
    recorded = there._learner._step._recording is not None
    assert recorded == (config.optimizer == "adam")


def test_a_new_episode_repeats_the_first_with_the_same_recording():
    policy = AdaptivePolicy(make_agent().cuda(), SETTINGS["paper"])
    first = learn(policy, stream(8))
    recording = policy._learner._step._recording
    policy.reset()
    np.testing.assert_allclose(learn(policy, stream(8)), first, rtol=1e-3)
    assert policy._learner._step._recording is recording is not None


@pytest.mark.parametrize(("source", "target"), [("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda")])
def test_a_state_saved_on_one_device_goes_on_on_another(tmp_path, source, target):
    whole, before, after = stream(16), stream(16)[:8], stream(16)[8:]
    config = dataclasses.replace(SETTINGS["paper"], memory=1, reset="never")
    reference = AdaptivePolicy(make_agent().to(source), config)
    learn(reference, before)
    reference.save(tmp_path / "state")
    other = AdaptivePolicy(make_agent().to(target), config)
    learn(other, whole[:6])
    other.load(tmp_path / "state")
    other._learner._generator.set_state(reference._learner._generator.get_state())
    np.testing.assert_allclose(learn(other, after), learn(reference, after), rtol=1e-2)


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
    config = dataclasses.replace(config, guards=dataclasses.replace(config.guards, gate_features=None, frames=False))
    policies = AdaptivePolicy(make_agent(), config), AdaptivePolicy(make_agent().cuda(), config)
    losses = [learn(policy, stream(12)) for policy in policies]
    np.testing.assert_allclose(*losses, rtol=1e-3)
    assert policies[0]._learner.counts == policies[1]._learner.counts


def test_an_agent_acts_the_same_on_both_devices():
    for obs, _, _ in stream(3):
        actions = (FrozenPolicy(make_agent().to(device)).act(obs) for device in ("cpu", "cuda"))
        np.testing.assert_allclose(*actions, atol=1e-4)


def test_a_step_that_cannot_be_recorded_is_made_all_the_same(monkeypatch):
    from pad.deployment import gradient_step

    def refuse(*_):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(gradient_step, "_Recording", refuse)
    here, there = (AdaptivePolicy(make_agent().to(device), SETTINGS["color"]) for device in ("cpu", "cuda"))
    with pytest.warns(UserWarning, match="without a recording"):
        losses = learn(there, stream(8))
    np.testing.assert_allclose(losses, learn(here, stream(8)), rtol=1e-3)
