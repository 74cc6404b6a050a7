import dataclasses
import itertools
import time

import numpy as np
import plain
import pytest
import torch
from conftest import SMALL, inverse_dynamics_loss_on, make_agent, with_fields

from pad.calibration import Calibration
from pad.deployment import (
    ADAPTATIONS,
    NO_GUARDS,
    AdaptationConfig,
    AdaptivePolicy,
    FrozenPolicy,
    GuardConfig,
    MeasuredPolicy,
    as_model,
)
from pad.deployment.detail import DetailFilter
from pad.types import Batch, Policy

COLOR = AdaptationConfig(
    moves="color", learning_rate=1e-2, batch_size=4, memory=8, transitions=None, crop_grid="pixel", guards=NO_GUARDS
)
CONVOLUTIONS = dataclasses.replace(COLOR, moves="convolutions", learning_rate=1e-3)
PAPER = dataclasses.replace(ADAPTATIONS["paper"], batch_size=4)


def gated(config):
    return dataclasses.replace(config, guards=dataclasses.replace(NO_GUARDS, gate=1.0))


def measure_loss(agent, *transition) -> float:
    model = as_model(agent)
    return model.measure(model.transition(*transition))


def draw(policy):
    learner = policy._learner
    return policy.model.draw(learner._memory, learner._picks(), learner.config, learner._generator)


def fingerprint(agent) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in agent.state_dict().items()}


def moved(agent, before) -> set[str]:
    return {name for name, value in agent.state_dict().items() if not value.equal(before[name])}


AFFINE = dataclasses.replace(CONVOLUTIONS, moves="affine")
DETAIL = dataclasses.replace(COLOR, moves="color_and_detail")


@pytest.mark.parametrize("config", [COLOR, AFFINE, CONVOLUTIONS, dataclasses.replace(CONVOLUTIONS, optimizer="sgd")])
def test_adaptation_moves_the_encoder_and_nothing_else(agent, transition, config):
    policy = AdaptivePolicy(agent, config)
    before = fingerprint(policy.model.agent)
    policy.observe(*transition)
    names = moved(policy.model.agent, before)
    assert names == set(policy.parameter_names)
    assert all(name.startswith("encoder.") for name in names)


def test_the_authors_setting_moves_head_and_branch_too(agent, transition):
    policy = AdaptivePolicy(agent, PAPER)
    before = fingerprint(policy.model.agent)
    policy.observe(*transition)
    parts = {name.split(".")[0] for name in moved(policy.model.agent, before)}
    assert parts == {"encoder", "inverse_dynamics"}
    assert "encoder.color_matrix" not in moved(policy.model.agent, before)


def test_only_the_first_layers_move_when_told_so(agent, transition):
    policy = AdaptivePolicy(agent, dataclasses.replace(CONVOLUTIONS, layers=1))
    before = fingerprint(policy.model.agent)
    policy.observe(*transition)
    assert moved(policy.model.agent, before) == {"encoder.convolutions.0.weight", "encoder.convolutions.0.bias"}


def test_a_filter_moves_with_the_colours_and_begins_as_nothing(agent, transition):
    policy, expected = AdaptivePolicy(agent, DETAIL), agent.act(transition[0])
    assert policy.parameter_names == ["encoder.color_matrix", "encoder.color_offset", "details.0.weight"]
    assert (policy.act(transition[0]) == expected).all()
    before = fingerprint(policy.model.agent)
    policy.observe(*transition)
    assert moved(policy.model.agent, before) == {"encoder.color_matrix", "encoder.color_offset"}
    assert bool(policy.model.details[0].weight.all())
    assert (policy.act(transition[0]) != expected).any()
    policy.reset()
    assert not policy.model.details[0].weight.any()
    assert (policy.act(transition[0]) == expected).all()


def test_a_filter_is_one_convolution_of_each_frame_that_goes_on_beyond_its_edge():
    filtering, pictures = DetailFilter(2), torch.randint(0, 256, (1, 4, 5, 6), dtype=torch.uint8)
    weights = filtering.weight.data = torch.randn(2, 2, 3, 3)
    found = filtering(pictures)
    for frame, color, row, column in itertools.product(range(2), range(2), range(5), range(6)):
        expected = float(pictures[0, 2 * frame + color, row, column])
        for source, down, right in itertools.product(range(2), range(3), range(3)):
            seen = pictures[0, 2 * frame + source, min(max(row + down - 1, 0), 4), min(max(column + right - 1, 0), 5)]
            expected += float(weights[color, source, down, right]) * float(seen) / 9
        assert found[0, 2 * frame + color, row, column].item() == pytest.approx(expected, abs=1e-3)


def test_a_filter_learns_in_the_background_too(agent, transition):
    with AdaptivePolicy(agent, DETAIL, adaptation="background") as policy:
        before = policy.act(transition[0])
        deadline = time.monotonic() + 20
        while (policy.act(transition[0]) == before).all():
            assert time.monotonic() < deadline
            policy.observe(*transition)
            time.sleep(0.01)
        assert policy.model.details[0].weight.any()


@pytest.mark.parametrize("config", [COLOR, DETAIL, CONVOLUTIONS, PAPER])
def test_the_agent_that_was_handed_in_never_changes(agent, transition, config):
    before, flags = fingerprint(agent), [p.requires_grad for p in agent.parameters()]
    policy = AdaptivePolicy(agent, config)
    policy.observe(*transition)
    assert not moved(agent, before)
    assert [p.requires_grad for p in agent.parameters()] == flags


@pytest.mark.parametrize("config", [COLOR, DETAIL, CONVOLUTIONS, PAPER])
def test_adaptation_lowers_the_loss_on_what_it_sees(agent, transition, config):
    policy = AdaptivePolicy(agent, dataclasses.replace(config, batch_size=32))
    losses = [policy.observe(*transition)["self_supervised_loss"] for _ in range(40)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_a_new_episode_brings_back_weights_optimizer_and_draws(agent, transition):
    policy = AdaptivePolicy(agent, COLOR)
    runs = []
    for _ in range(2):
        policy.reset()
        runs.append([policy.observe(*transition)["self_supervised_loss"] for _ in range(5)])
    assert runs[0] == runs[1]
    policy.reset()
    assert not moved(policy.model.agent, fingerprint(agent))


def test_a_policy_that_never_resets_goes_on_until_it_is_restored(agent, transition):
    policy = AdaptivePolicy(agent, dataclasses.replace(COLOR, reset="never"))
    policy.observe(*transition)
    policy.reset()
    assert moved(policy.model.agent, fingerprint(agent))
    policy.restore()
    assert not moved(policy.model.agent, fingerprint(agent))


def test_behind_a_shut_gate_nothing_moves_and_behind_an_open_one_it_does(agent, transition):
    loss = measure_loss(agent, *transition)
    for usual_loss, updates in ((2 * loss, 0), (loss / 2, 1)):
        agent.calibration = Calibration(loss, (usual_loss,) * 5, 1)
        policy = AdaptivePolicy(agent, gated(COLOR))
        metrics = policy.observe(*transition)
        assert metrics["self_supervised_loss"] == pytest.approx(loss)
        assert metrics["updates"] == updates
        assert bool(moved(policy.model.agent, fingerprint(agent))) == bool(updates)


def test_a_gate_shuts_when_adaptation_has_brought_the_loss_down(agent, transition):
    loss = measure_loss(agent, *transition)
    agent.calibration = Calibration(loss, (0.6 * loss,) * 5, 1)
    policy = AdaptivePolicy(agent, gated(dataclasses.replace(CONVOLUTIONS, batch_size=16, memory=1)))
    updates = [policy.observe(*transition)["updates"] for _ in range(60)]
    assert updates[0] == 1
    assert updates[-1] == 0


def test_what_a_shut_gate_saw_is_remembered(agent, transition):
    loss = measure_loss(agent, *transition)
    agent.calibration = Calibration(loss, (2 * loss,) * 5, 1)
    policy = AdaptivePolicy(agent, gated(COLOR))
    policy.observe(*transition)
    assert len(policy._learner._memory) == 1


def test_a_gate_without_calibration_is_refused(agent):
    with pytest.raises(ValueError, match="no calibration for a gate"):
        AdaptivePolicy(agent, gated(COLOR))


def test_pictures_lie_in_memory_as_convolutions_read_them(agent, transition):
    policy = AdaptivePolicy(agent, COLOR)
    policy.observe(*transition)
    assert draw(policy).images.is_contiguous(memory_format=torch.channels_last)


def test_the_newest_transition_is_always_among_those_learned_from(agent, transition):
    policy = AdaptivePolicy(agent, dataclasses.replace(COLOR, batch_size=1, memory=50))
    obs, _action, next_obs = transition
    for number in range(20):
        policy.observe(obs, np.full(2, number / 20, np.float32), next_obs)
        assert draw(policy).action[0, 0].item() == pytest.approx(number / 20)


def test_crops_are_shared_out_among_as_many_transitions_as_are_asked_for(agent, transition):
    policy = AdaptivePolicy(agent, dataclasses.replace(COLOR, batch_size=12, memory=100, transitions=3))
    obs, _action, next_obs = transition
    for number in range(60):
        policy.observe(obs, np.full(2, number / 60, np.float32), next_obs)
    for _ in range(20):
        actions, counts = draw(policy).action[:, 0].unique(return_counts=True)
        assert len(actions) <= 3
        assert actions.max() == pytest.approx(59 / 60)
        assert set(counts.tolist()) <= {4, 8, 12}


def test_a_memory_of_one_is_the_newest_transition_alone(agent, transition):
    policy = AdaptivePolicy(agent, dataclasses.replace(COLOR, memory=1))
    obs, action, next_obs = transition
    policy.observe(obs, -action, next_obs)
    policy.observe(obs, action, next_obs)
    drawn = draw(policy).action.numpy()
    assert (drawn == action).all()


def test_observations_of_one_transition_are_cropped_independently(agent):
    config = dataclasses.replace(COLOR, batch_size=32, memory=1)
    policy = AdaptivePolicy(agent, config)
    policy.observe(*[np.zeros(shape, kind) for shape, kind in (((9, 24, 24), "u1"), (2, "f4"), ((9, 24, 24), "u1"))])
    windows = draw(policy).windows
    assert windows.image.tolist() == [0] * 32 + [1] * 32
    assert set(windows.top.tolist()) == set(windows.left.tolist()) == set(range(5))
    assert (windows.top[:32] != windows.top[32:]).any()


def test_crops_on_the_strides_grid_begin_at_its_multiples(agent, transition):
    policy = AdaptivePolicy(agent, dataclasses.replace(COLOR, batch_size=32, crop_grid="stride"))
    policy.observe(*transition)
    windows = draw(policy).windows
    assert set(windows.top.tolist()) == set(windows.left.tolist()) == {0, 2, 4}


@pytest.mark.parametrize("grid", ["pixel", "stride"])
@pytest.mark.parametrize("config", [COLOR, DETAIL, CONVOLUTIONS, PAPER])
def test_the_loss_and_its_gradients_are_those_of_the_crops(agent, transition, config, grid):
    obs, action, next_obs = transition
    policy = AdaptivePolicy(agent, dataclasses.replace(config, batch_size=32, crop_grid=grid))
    policy._learner._memory.extend(policy.model.transition(obs, action * scale, next_obs) for scale in (1, 0))
    drawn = draw(policy)
    moving = list(policy._learner.moving.values())
    crops = drawn.windows.cut(drawn.images)
    unused = torch.zeros(32)
    batch = Batch(crops[:32], drawn.action, unused, unused.bool(), crops[32:])
    plain = inverse_dynamics_loss_on(policy.model.agent, batch)
    expected = torch.autograd.grad(plain, moving, retain_graph=True)  # a filter is before both
    loss = policy.model.agent.inverse_dynamics.loss(drawn)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(torch.autograd.grad(loss, moving), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("grid", ["pixel", "stride"])
def test_a_step_of_the_authors_setting_equals_the_one_written_out(agent, transition, grid):
    with torch.no_grad():  # a colour transform that does something
        agent.encoder.color_matrix.add_(0.1 * torch.randn(3, 3))
        agent.encoder.color_offset.add_(0.1 * torch.randn(3))
    policy = AdaptivePolicy(agent, dataclasses.replace(PAPER, batch_size=32, crop_grid=grid))
    networks = plain.PlainNetworks(agent)
    moving = {n: p for n, p in networks.agent.named_parameters() if n in policy.parameter_names}
    optimizer = torch.optim.Adam(moving.values(), lr=policy.config.learning_rate)
    drawn: list = []
    draws = policy.model.draw
    policy.model.draw = lambda *arguments: drawn.append(draws(*arguments)) or drawn[-1]
    loss = policy.observe(*transition)["self_supervised_loss"]
    tensors = tuple(torch.tensor(part) for part in transition)
    expected = plain.adaptation_step(networks, optimizer, tensors, drawn[0].windows.top, drawn[0].windows.left)
    assert loss == pytest.approx(expected, rel=1e-4)
    for name, parameter in moving.items():
        ours, theirs = policy._learner.moving[name].grad, parameter.grad
        assert (ours - theirs).norm() <= 1e-3 * theirs.norm() + 1e-7, name


@pytest.mark.parametrize("transitions", [None, 2])
@pytest.mark.parametrize("grid", ["pixel", "stride"])
@pytest.mark.parametrize("memory", [1, 8])
def test_in_fixed_shapes_loss_and_gradients_are_the_same(agent, transition, grid, memory, transitions):
    config = AdaptationConfig(
        moves="color_and_detail", crop_grid=grid, memory=memory, transitions=transitions, guards=NO_GUARDS
    )
    policy, shapes = AdaptivePolicy(agent, config), set()
    model, learner, parameters = policy.model, policy._learner, policy._learner._parameters
    for count in range(1, 4):
        policy.observe(transition[0] // count, transition[1], transition[2])
        picks, state = learner._picks(), learner._generator.get_state()
        expected = torch.autograd.grad(
            loss := model.loss(learner._memory, picks, config, learner._generator), parameters
        )
        drawn = learner._generator.get_state()
        inputs = model.inputs(learner._memory, picks, config, learner._generator.set_state(state))
        assert learner._generator.get_state().equal(drawn)
        again = model.loss_of(inputs, config)
        torch.testing.assert_close(again, loss)
        torch.testing.assert_close(torch.autograd.grad(again, parameters), expected)
        shapes.add(tuple(part.shape for part in inputs))
    assert len(shapes) == 1


def test_a_saved_state_is_not_touched_by_who_goes_on_from_it(agent, transition):
    first, second = AdaptivePolicy(agent, CONVOLUTIONS), AdaptivePolicy(agent, CONVOLUTIONS)
    first.observe(*transition)
    saved = first.snapshot()
    second.restore(saved)
    second.observe(*transition)
    third = AdaptivePolicy(agent, CONVOLUTIONS)
    third.restore(saved)
    assert third._learner._step.optimizer.state_dict()["state"][0]["step"] == 1


def test_a_loop_that_uses_its_arrays_again_does_not_rewrite_the_memory(agent, transition):
    policy, (obs, action, next_obs) = AdaptivePolicy(agent, COLOR), transition
    policy.observe(obs, action, next_obs)
    kept = policy._learner._memory[0].obs.pictures[0].clone()
    obs[:] = 0
    assert policy._learner._memory[0].obs.pictures[0].equal(kept)


def test_an_observation_of_another_shape_is_refused(agent, transition):
    obs, action, next_obs = transition
    with pytest.raises(ValueError, match="observation must be uint8"):
        AdaptivePolicy(agent, COLOR).observe(obs, action, next_obs[:3])


def test_adapted_state_can_be_saved_and_gone_on_with(agent, transition):
    first, second = AdaptivePolicy(agent, CONVOLUTIONS), AdaptivePolicy(agent, CONVOLUTIONS)
    first.observe(*transition)
    second.restore(first.snapshot())
    assert (first.act(transition[0]) == second.act(transition[0])).all()


def test_a_frozen_policy_learns_nothing(agent, transition):
    before = fingerprint(agent)
    assert FrozenPolicy(agent).observe(*transition) == {}
    assert MeasuredPolicy(FrozenPolicy(agent)).observe(*transition)["self_supervised_loss"] > 0
    assert not moved(agent, before)


def test_measuring_changes_nothing_and_is_the_same_for_both_policies(agent, transition):
    plain, inner = AdaptivePolicy(agent, COLOR), AdaptivePolicy(agent, COLOR)
    frozen = MeasuredPolicy(FrozenPolicy(agent)).observe(*transition)
    measured = MeasuredPolicy(inner)
    loss = measured.observe(*transition)["self_supervised_loss"]
    assert loss == frozen["self_supervised_loss"]  # before the first update both are the trained agent
    plain.observe(*transition)
    assert not moved(inner.model.agent, fingerprint(plain.model.agent))
    assert (measured.act(transition[0]) == plain.act(transition[0])).all()


def test_both_policies_answer_the_same_calls(agent):
    assert isinstance(FrozenPolicy(agent), Policy)
    assert isinstance(AdaptivePolicy(agent, COLOR), Policy)


def test_an_agent_without_a_head_cannot_adapt():
    headless = make_agent(config=dataclasses.replace(SMALL, self_supervised=False))
    with pytest.raises(ValueError, match="without a self-supervised head"):
        AdaptivePolicy(headless)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be positive, got -1.0"),
        ({"eager": -1}, "eager must be at least 0, got -1"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"layers": 2}, "goes with moves=convolutions"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(COLOR, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"moves": "colour"}, "moves must be one of color, .*got 'colour'"),
        ({"optimizer": "adamw"}, "optimizer must be one of adam, sgd, got 'adamw'"),
        ({"reset": "always"}, "reset must be one of episode, never, got 'always'"),
        ({"objectives": "rotation"}, "objectives must be a tuple, each item one of .*got 'rotation'"),
        ({"objectives": ("rotations",)}, r"objectives must be a tuple, .*got \('rotations',\)"),
    ],
)
def test_what_is_misspelt_is_said_with_the_choices(change, message):
    with pytest.raises(ValueError, match=message):
        with_fields(COLOR, **change).__post_init__()


def test_more_layers_than_there_are_cannot_move(agent):
    with pytest.raises(ValueError, match="layers must be at most 2 for this agent, got 5"):
        AdaptivePolicy(agent, dataclasses.replace(CONVOLUTIONS, layers=5))


def test_a_frame_that_cannot_be_read_ends_no_run_even_as_the_first_of_an_episode(agent, transition):
    config = AdaptationConfig(reset="never", guards=dataclasses.replace(NO_GUARDS, frames=True))
    policy = AdaptivePolicy(agent, config)
    obs, action, next_obs = transition
    with pytest.raises(ValueError, match="must be uint8"):
        policy.act(obs[:, 1:])
    expected = policy.act(obs)
    policy.reset()
    assert (policy.act(obs[:, 1:]) == expected).all()
    policy.observe(obs[:, 1:], action, next_obs)
    assert policy.counts["frames_shape"] == 1


def test_affine_moves_biases_alone_of_as_many_layers_as_are_asked_for(agent):
    names = AdaptivePolicy(agent, dataclasses.replace(AFFINE, layers=1)).parameter_names
    assert names == ["encoder.convolutions.0.bias"]
    assert len(AdaptivePolicy(agent, AFFINE).parameter_names) == 2


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_control_loop_that_needs_no_gradients_may_switch_them_off(agent, transition, mode):
    config = AdaptationConfig(
        batch_size=4, memory=4, guards=GuardConfig(gate_features=None, gate_colors=None, frames=False)
    )
    plain, inside = AdaptivePolicy(agent, config), None
    obs, action, next_obs = transition
    for _ in range(4):
        plain.observe(obs, action, next_obs)
        plain.observe(next_obs, action, obs)
    with mode():
        inside = AdaptivePolicy(agent, config)
        inside.reset()
        for _ in range(4):
            assert inside.observe(obs, action, next_obs)["updates"] == 1
            inside.act(next_obs)
            inside.observe(next_obs, action, obs)
        inside.restore(inside.snapshot())
    for weight, other in zip(inside._learner.online, plain._learner.online, strict=True):
        assert torch.equal(weight, other)
