"""Self-supervised objectives, against their equations written out on plain crops."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SMALL, make_agent

from envs.gradient import make_gradient_env
from pad.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pad.deployment import (
    NO_GUARDS,
    AdaptationConfig,
    AdaptivePolicy,
    FrozenPolicy,
    HeadConfig,
    as_model,
    fit_agent_heads,
    record_episode,
)
from pad.deployment.calibrator import calibrate
from pad.deployment.model import Transition
from pad.objectives import Views
from pad.windows import Windows

HEADS = ("rotation", "contrastive", "forward_dynamics")
ALL = dataclasses.replace(SMALL, heads=HEADS)
NAMES = ("inverse_dynamics", *HEADS, "alignment", "shuffled_actions")


@pytest.fixture
def agent():
    """With every head, in an environment that its features were measured in."""
    agent = make_agent(config=ALL)
    agent.calibration = calibrate(agent, make_gradient_env(), range(3))
    return agent


@pytest.fixture
def episodes():
    return [
        record_episode(make_gradient_env(steps=20), FrozenPolicy(make_agent()), seed, noise=1.0)
        for seed in (0, 1, 2, 3)
    ]


def make_views(agent, count=24, pictures=3, grid=1) -> Views:
    """Windows of some transitions' pictures, observations first."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2 * pictures, 9, 24, 24), dtype=torch.uint8, generator=generator)
    picks = torch.arange(count) % pictures
    top, left = (grid * torch.randint(4 // grid + 1, (2 * count,), generator=generator) for _ in range(2))
    action = torch.rand(pictures, 2, generator=generator) * 2 - 1
    windows = Windows(torch.cat([picks, picks + pictures]), top, left, 20)
    return Views(agent, images, windows, action[picks], generator=torch.Generator().manual_seed(9))


def crops_of(views) -> torch.Tensor:
    return views.windows.cut(views.images)


def plain_projected(agent, branch, projection, crops) -> torch.Tensor:
    return projection(branch(agent.encoder(crops)))


def plain_rotation(agent, views):
    crops, head = crops_of(views)[: len(views.action)], agent.heads["rotation"]
    turns = torch.randint(4, (len(crops),), generator=torch.Generator().manual_seed(9))
    turned = torch.stack([torch.rot90(crop, turn, (1, 2)) for turn, crop in zip(turns.tolist(), crops, strict=True)])
    logits = head.head(plain_projected(agent, head.branch, head.projection, turned))
    return F.cross_entropy(logits, turns)


def plain_contrastive(agent, views):
    head, image = agent.heads["contrastive"], views.windows.image.tolist()
    projected = plain_projected(agent, head.branch, head.projection, crops_of(views))
    numbers = {picture: [k for k, shown in enumerate(image) if shown == picture][:2] for picture in sorted(set(image))}
    query, key = (torch.stack([projected[pair[which]] for pair in numbers.values()]) for which in (0, 1))
    logits = query @ head.bilinear.weight.T @ key.detach().T
    return F.cross_entropy(logits, torch.arange(len(numbers)))


def plain_forward(agent, views):
    latent = agent.actor.projection(agent.features(crops_of(views)))
    before, after = latent.chunk(2)
    return F.mse_loss(
        before + agent.heads["forward_dynamics"].head(torch.cat([before, views.action], 1)), after.detach()
    )


def plain_inverse(agent, views, action=None):
    features = agent.encoder(crops_of(views))
    return F.mse_loss(agent.inverse_dynamics(*features.chunk(2)), views.action if action is None else action)


def plain_shuffled(agent, views):
    return plain_inverse(agent, views, torch.stack([views.action[k - 1] for k in range(len(views.action))]))


def plain_alignment(agent, views):
    found = agent.calibration.features
    channels = agent.encoder(crops_of(views)).mean((2, 3))
    offset = channels.double() - torch.tensor(found.mean, dtype=torch.float64)
    precision = torch.tensor(found.whitening, dtype=torch.float64)
    precision = precision.T @ precision
    return (torch.einsum("bi,ij,bj->b", offset, precision, offset) / len(found.mean)).mean().float()


PLAIN = {
    "inverse_dynamics": plain_inverse,
    "rotation": plain_rotation,
    "contrastive": plain_contrastive,
    "forward_dynamics": plain_forward,
    "alignment": plain_alignment,
    "shuffled_actions": plain_shuffled,
}


@pytest.mark.parametrize("grid", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_an_objective_and_its_gradients_are_those_of_its_equation_on_crops(agent, name, grid):
    views = make_views(agent, grid=grid)
    moving = [*agent.encoder.convolutions.parameters(), agent.encoder.color_matrix.requires_grad_(True)]
    expected = PLAIN[name](agent, views)
    gradients = torch.autograd.grad(expected, moving)
    loss = agent.objective(name)(views)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)
    for found, wanted in zip(torch.autograd.grad(loss, moving), gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=2e-3, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_learns_by_each_objective_and_moves_what_it_may(agent, transition, name):
    config = AdaptationConfig(objectives=(name,), batch_size=8, guards=NO_GUARDS)
    policy = AdaptivePolicy(agent, config)
    before = {key: value.clone() for key, value in policy.model.network.state_dict().items()}
    obs, action, next_obs = transition
    policy.observe(obs, action, next_obs)
    policy.observe(next_obs, -action, obs)
    moved = {key for key, value in policy.model.network.state_dict().items() if not value.equal(before[key])}
    assert moved == {"encoder.color_matrix", "encoder.color_offset"}


def test_several_objectives_are_added_up(agent):
    model, generator = as_model(agent), torch.Generator()
    obs, next_obs = np.random.default_rng(0).integers(256, size=(2, 9, 24, 24), dtype=np.uint8)
    transitions = [model.transition(obs, np.full(2, value, np.float32), next_obs) for value in (0.1, 0.9)]

    def loss(*names) -> float:
        config = AdaptationConfig(objectives=names)
        return model.loss(transitions, torch.tensor([0, 1] * 4), config, generator.manual_seed(0)).item()

    assert loss("inverse_dynamics", "rotation") == pytest.approx(loss("inverse_dynamics") + loss("rotation"), rel=1e-5)


def test_all_of_convolutions_and_head_moves_with_the_heads_that_are_learned(agent):
    config = AdaptationConfig(moves="convolutions_and_head", objectives=("rotation",), guards=NO_GUARDS)
    names = AdaptivePolicy(agent, config).parameter_names
    assert {name.split(".")[1] for name in names if name.startswith("heads.")} == {"rotation"}


def test_wrong_actions_give_another_loss_and_one_transition_alone_cannot_be_shuffled(agent):
    views = make_views(agent)
    assert agent.objective("shuffled_actions")(views).item() != agent.objective("inverse_dynamics")(views).item()
    alone = make_views(agent, pictures=1)
    torch.testing.assert_close(agent.objective("shuffled_actions")(alone), agent.objective("inverse_dynamics")(alone))


def test_alignment_is_least_where_it_was_measured_and_brings_shifted_features_back(agent):
    env = make_gradient_env(steps=40, tint=(0.4, 1.0, 0.7))
    config = AdaptationConfig(objectives=("alignment",), batch_size=8, learning_rate=3e-2, guards=NO_GUARDS)
    policy, frozen = AdaptivePolicy(agent, config), as_model(agent)
    obs, _ = env.reset(seed=0)
    env.action_space.seed(0)
    distances, over = {"frozen": [], "adapted": []}, False
    while not over:
        action = env.action_space.sample()
        next_obs, _, terminated, truncated, _ = env.step(action)
        policy.observe(obs, action, next_obs)
        for name, model in (("frozen", frozen), ("adapted", policy.model)):
            channels = model.look(model.transition(obs, action, next_obs))[1]
            distances[name].append(agent.calibration.features.distance(channels))
        obs, over = next_obs, terminated or truncated
    assert np.mean(distances["adapted"][-10:]) < 0.5 * np.mean(distances["frozen"][-10:])


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_fitted_to_a_trained_agent_and_travels_with_its_checkpoint(tmp_path, episodes, name):
    agent = make_agent()
    before = {key: value.clone() for key, value in agent.state_dict().items()}
    quick = HeadConfig(updates=200, batch_size=16, learning_rate=3e-3)
    _, first = fit_agent_heads(agent, episodes, (name,), dataclasses.replace(quick, updates=1))
    fitted, metrics = fit_agent_heads(agent, episodes, (name,), quick)
    assert metrics[f"{name}_loss"] < first[f"{name}_loss"]
    assert all(fitted.state_dict()[key].equal(value) for key, value in before.items())
    assert fitted.calibration == agent.calibration
    save_checkpoint(tmp_path / "fitted", Checkpoint(fitted))
    loaded = load_checkpoint(tmp_path / "fitted").agent
    assert all(loaded.state_dict()[key].equal(value) for key, value in fitted.state_dict().items())
    with pytest.raises(ValueError, match=f"has a self-supervised head for {name}"):
        fit_agent_heads(loaded, episodes, (name,), quick)


def test_the_newest_picture_meets_every_turn(agent, transition):
    policy = AdaptivePolicy(agent, AdaptationConfig(objectives=("rotation",), guards=NO_GUARDS))
    met, rotate = set(), torch.rot90

    def noted(crops, turn, axes):
        met.update([turn] * len(crops))
        return rotate(crops, turn, axes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rot90", noted)
        policy.observe(*transition)  # the only transition, so the newest
    assert met == {0, 1, 2, 3}


def test_what_one_transition_led_to_and_the_next_began_with_is_one_picture(agent):
    model, rng = as_model(agent), np.random.default_rng(0)
    seen = [model.see(rng.integers(256, size=(9, 24, 24), dtype=np.uint8)) for _ in range(4)]
    steps = [Transition(before, torch.zeros(2), after) for before, after in itertools.pairwise(seen)]
    views = model.draw(steps, torch.tensor([0, 1, 2, 0, 1, 2]), AdaptationConfig(), torch.Generator().manual_seed(0))
    assert len(set(views.picture.tolist())) == 4
    assert [len(numbers) for numbers in views.pairs()] == [4, 4]


def test_a_contrast_of_pictures_that_are_seen_once_is_nothing(agent):
    loss = agent.objective("contrastive")(make_views(agent, count=3, pictures=3))
    assert loss.item() == 0
    loss.backward()


def test_an_objective_that_a_policy_lacks_is_refused_before_it_acts():
    def adapting(*names):
        return AdaptivePolicy(make_agent(), AdaptationConfig(objectives=names, guards=NO_GUARDS))

    with pytest.raises(ValueError, match="no head for rotation, only none: scripts/fit_head.py --heads rotation"):
        adapting("rotation")
    with pytest.raises(ValueError, match="no inverse_dynamics head, which the guards judge by"):
        fit_agent_heads(make_agent(config=dataclasses.replace(SMALL, self_supervised=False)), [], ("rotation",))
    with pytest.raises(ValueError, match=r"alignment needs the features of training: scripts/calibrate.py"):
        adapting("inverse_dynamics", "alignment")


@pytest.mark.parametrize("names", [(), ("rotation", "rotation")])
def test_objectives_are_one_or_more_different_ones(names):
    with pytest.raises(ValueError, match="objectives must be one or more different ones"):
        AdaptationConfig(objectives=names)
