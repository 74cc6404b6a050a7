import dataclasses
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from conftest import SMALL, make_agent, with_fields
from torch import nn

from envs.gradient import make_gradient_env
from pad.calibration import Calibration
from pad.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pad.deployment import (
    NO_GUARDS,
    AdaptationConfig,
    AdaptivePolicy,
    AgentModel,
    Camera,
    ColorMatchedPolicy,
    FrozenPolicy,
    GuardConfig,
)
from pad.deployment.fitting import HeadConfig, fit_agent_heads, fit_head
from pad.deployment.head_folder import load_head, save_head
from pad.deployment.recordings import record_episode
from pad.deployment.torch_policy import TorchPolicy
from pad.evaluation import run_episode

QUICK = HeadConfig(updates=150, batch_size=16)
HEADLESS = dataclasses.replace(SMALL, self_supervised=False)


def make_policy(seed: int = 0) -> TorchPolicy:
    """A user's policy for the gradient task: it goes somewhere, and looks while it goes."""
    torch.manual_seed(seed)
    encoder = nn.Sequential(nn.Conv2d(9, 8, 5, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten())
    head = nn.Linear(8 * 5 * 5, 2)
    return TorchPolicy(
        encoder,
        lambda features, _: torch.tanh(20 * head(features))[0].numpy(),
        Camera((9, 24, 24)),
        gym.spaces.Box(-1, 1, (2,), np.float32),
        padding=2,
    )


def make_discrete() -> TorchPolicy:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(9, 8, 5, 3), nn.ReLU(), nn.Flatten())
    head = nn.Linear(8 * 7 * 7, 4)
    act = lambda features, _: int(head(features).argmax(1)[0])  # noqa: E731
    return TorchPolicy(encoder, act, Camera((9, 24, 24)), gym.spaces.Discrete(4))


class Four(gym.ActionWrapper):
    """The gradient task with four directions to choose from."""

    def __init__(self, env):
        super().__init__(env)
        self.action_space = gym.spaces.Discrete(4)

    def action(self, action):
        return np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)[action]


class ToTheMiddle:
    """Reads the newest frame, and stays away from the rim, where an action shows nothing."""

    def act(self, obs):
        place = np.array([obs[-3].mean(0).argmax(), obs[-2].mean(1).argmax()]) / 23
        return np.clip((1 - 2 * place) / 0.3, -1, 1).astype(np.float32)


@pytest.fixture(scope="module")
def episodes():
    env = make_gradient_env(steps=20)
    return [record_episode(env, ToTheMiddle(), seed, noise=0.5) for seed in range(25)]


@pytest.fixture(scope="module")
def fitted(episodes):
    policy = make_policy()
    return policy, fit_head(policy, episodes, HeadConfig(updates=400, batch_size=32))


def actions(policy, episodes) -> np.ndarray:
    acting = FrozenPolicy(policy)
    return np.array([acting.act(obs) for episode in episodes for obs in episode.observations])


def test_a_head_learns_to_infer_actions_and_leaves_the_policy_alone(fitted, episodes):
    policy, metrics = fitted
    assert metrics["loss"] < 0.3 * metrics["loss_of_mean"]
    assert metrics["action_change"] == 0
    np.testing.assert_array_equal(actions(policy, episodes[:2]), actions(make_policy(), episodes[:2]))


def test_a_head_learns_to_tell_discrete_actions():
    policy = make_discrete()
    recorded = [record_episode(Four(make_gradient_env()), policy, seed, noise=0.7) for seed in range(16)]
    metrics = fit_head(policy, recorded, HeadConfig(updates=200, batch_size=32))
    assert metrics["loss"] < 0.7 * metrics["loss_of_mean"]
    assert metrics["action_change"] == 0


@pytest.mark.parametrize("progress", [True, False])
def test_the_progress_bar_can_be_left_out(episodes, capsys, progress):
    fit_head(make_policy(), episodes[:5], dataclasses.replace(QUICK, updates=2), progress=progress)
    assert ("fitting the head" in capsys.readouterr().err) == progress


def test_the_same_seed_fits_the_same_head(episodes):
    metrics = [
        fit_head(make_policy(), episodes[:5], dataclasses.replace(QUICK, updates=10), seed) for seed in (1, 1, 2)
    ]
    assert metrics[0] == metrics[1] != metrics[2]


def test_a_fitted_head_is_calibrated_and_adapts_behind_all_guards(fitted):
    policy, _ = fitted
    assert policy.calibration.episodes == 5
    adapting = AdaptivePolicy(policy)
    env = make_gradient_env(steps=60, tint=(0.2, 1, 0.5))
    updates, before = 0, adapting.model.network["color"][0].matrix.clone()
    for seed in range(3):
        obs, _ = env.reset(seed=seed)
        over = False
        while not over:
            action = adapting.act(obs)
            next_obs, _, terminated, truncated, _ = env.step(action)
            updates += adapting.observe(obs, action, next_obs)["updates"]
            obs, over = next_obs, terminated or truncated
    assert updates > 0
    assert adapting.counts["accepted"] > 0
    assert not adapting.model.network["color"][0].matrix.equal(before)


@pytest.mark.parametrize("bound", [0.01, 0.1])
def test_finetuning_moves_the_encoder_but_never_actions_beyond_the_bound(episodes, bound):
    policy = make_policy()
    before = {name: value.clone() for name, value in policy.network.state_dict().items()}
    config = dataclasses.replace(QUICK, finetune=True, action_bound=bound, learning_rate=3e-3)
    metrics = fit_head(policy, episodes, config)
    held_out = episodes[-5:]
    seen = np.array([obs for episode in held_out for obs in episode.observations[:-1]])
    old, new = FrozenPolicy(make_policy()), FrozenPolicy(policy)
    change = np.sqrt(np.mean([np.square(new.act(obs) - old.act(obs)) for obs in seen]))
    assert change == pytest.approx(metrics["action_change"], rel=1e-4)
    assert change <= bound
    moved = {name for name, value in policy.network.state_dict().items() if not value.equal(before[name])}
    assert not any(name.startswith("color.") for name in moved)
    if bound > 0.05:
        assert any(name.startswith("encoder.") for name in moved)


def test_finetuning_stops_at_discrete_actions_that_differ_too_often():
    policy = make_discrete()
    recorded = [record_episode(Four(make_gradient_env()), policy, seed, noise=0.7) for seed in range(5)]
    config = dataclasses.replace(QUICK, finetune=True, action_bound=0.1, learning_rate=1e-2)
    assert fit_head(policy, recorded, config)["action_change"] <= 0.1


def test_a_saved_head_is_loaded_into_a_fresh_policy_which_deploys_as_before(tmp_path, fitted, episodes):
    policy, _ = fitted
    save_head(tmp_path / "head", policy)
    fresh = make_policy()
    loaded = load_head(tmp_path / "head", fresh)
    assert loaded.calibration == policy.calibration
    assert fresh.calibration is None
    config = AdaptationConfig(guards=NO_GUARDS, batch_size=4)
    step = next(episodes[0].transitions())
    losses = [AdaptivePolicy(each, config).observe(*step)["self_supervised_loss"] for each in (policy, loaded)]
    assert losses[0] == losses[1]
    open_gate = AdaptationConfig(guards=GuardConfig(gate_features=1e-9, gate_colors=None, frames=False))
    assert AdaptivePolicy(loaded, open_gate).observe(*step)["self_supervised_loss"] >= 0


def test_a_finetuned_encoder_is_saved_with_its_head(tmp_path, episodes):
    policy = make_policy()
    fit_head(policy, episodes, dataclasses.replace(QUICK, finetune=True, action_bound=2.0))
    save_head(tmp_path / "head", policy)
    loaded = load_head(tmp_path / "head", make_policy())
    np.testing.assert_array_equal(actions(loaded, episodes[:1]), actions(policy, episodes[:1]))


def spoil(folder: Path, how: str) -> None:
    model, config = folder / "model.safetensors", folder / "config.yaml"
    if how == "cut":
        model.write_bytes(model.read_bytes()[:-20])
    elif how == "empty":
        model.write_bytes(b"")
    elif how == "missing":
        model.unlink()
    elif how == "no YAML":
        config.write_text("{")
    elif how == "foreign":
        config.write_text("format: 1")
    elif how == "newer":
        config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "head": 99}))
    elif how == "another encoder":
        save_head(folder, make_policy(seed=1))
    elif how == "calibration":
        config.write_text(yaml.safe_dump({"head": 1, "calibration": {"mean_loss": "low"}}))
    else:
        wrong = make_discrete() if how == "another policy" else make_policy()
        if how == "not a number":
            nn.init.constant_(wrong.head.head[0].bias, float("nan"))
        save_head(folder, wrong)


@pytest.mark.parametrize(
    "how",
    [
        "cut",
        "empty",
        "missing",
        "no YAML",
        "foreign",
        "newer",
        "calibration",
        "another policy",
        "another encoder",
        "not a number",
    ],
)
def test_a_head_that_cannot_be_used_is_named_with_the_reason(tmp_path, how):
    save_head(tmp_path / "head", make_policy())
    spoil(tmp_path / "head", how)
    policy = make_policy()
    with pytest.raises(ValueError, match=f"{tmp_path}/head does not hold a head of this policy: ."):
        load_head(tmp_path / "head", policy)


def test_a_head_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no head at"):
        load_head(tmp_path / "head", make_policy())


@pytest.mark.parametrize("beside", [None, "config.yaml of another project", "a head"])
def test_a_head_never_takes_the_place_of_a_folder_of_other_things(tmp_path, beside):
    folder = tmp_path / "mine"
    if beside == "a head":
        save_head(folder, make_policy())
    folder.mkdir(exist_ok=True)
    (folder / "thesis.tex").write_text("all of it")
    if beside == "config.yaml of another project":
        (folder / "config.yaml").write_text("lr: 1")
    with pytest.raises(FileExistsError, match="holds no head, or other things beside it"):
        save_head(folder, make_policy())
    assert (folder / "thesis.tex").read_text() == "all of it"


def test_after_a_crash_between_two_heads_the_older_one_is_loaded(tmp_path):
    save_head(tmp_path / "head", make_policy())
    (tmp_path / "head").rename(tmp_path / "head.old")
    assert load_head(tmp_path / "head", make_policy()).fitted


def test_a_head_takes_the_place_of_an_older_one(tmp_path):
    for seed in range(2):
        save_head(tmp_path / "head", make_policy(seed))
    load_head(tmp_path / "head", make_policy(1))


class TwoNames(nn.Module):
    """Computes in bfloat16, and has a layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(9, 4, 5, 4)
        self.again = self.first
        self.to(torch.bfloat16)

    def forward(self, pictures):
        return self.again(pictures.to(torch.bfloat16))


def test_an_encoder_in_half_precision_with_a_layer_of_two_names_gets_a_head_that_is_kept(tmp_path, episodes):
    torch.manual_seed(0)
    head = nn.Linear(4 * 25, 2)
    act = lambda features, _: head(features.float().flatten(1))[0].numpy().clip(-1, 1)  # noqa: E731
    make = lambda: TorchPolicy(TwoNames(), act, Camera((9, 24, 24)), gym.spaces.Box(-1, 1, (2,)))  # noqa: E731
    torch.manual_seed(1)
    policy = make()
    fit_head(policy, episodes[:4], dataclasses.replace(QUICK, updates=2))
    save_head(tmp_path / "head", policy)
    torch.manual_seed(1)
    adapting = AdaptivePolicy(load_head(tmp_path / "head", make()))
    for step in episodes[0].transitions():
        adapting.observe(*step)
    adapting.save(tmp_path / "state")


@pytest.mark.parametrize(
    ("high", "message"),
    [
        (100_000.0, r"of one colour each: are their values from 0 \(black\) to 100000"),
        (1.0, r"pixels from \d+ to \d+, declared are 0 \(black\) to 1 \(white\)"),
    ],
)
def test_pictures_of_another_range_than_declared_get_no_head(episodes, high, message):
    policy = make_policy()
    policy.cameras = (dataclasses.replace(policy.cameras[0], high=high),)
    with pytest.raises(ValueError, match=message):
        fit_head(policy, episodes[:4], QUICK)


def test_episodes_of_another_policy_are_refused(episodes):
    with pytest.raises(ValueError, match="at least two episodes are needed, .* got 1"):
        fit_head(make_policy(), episodes[:1], QUICK)
    with pytest.raises(ValueError, match=r"action must have shape \(\), got \(2,\)"):
        fit_head(make_discrete(), episodes, QUICK)
    other = [record_episode(make_gradient_env(size=30), FrozenPolicy(make_agent()), 0, noise=1.0)] * 2
    with pytest.raises(ValueError, match=r"must be uint8 \(9, 24, 24\), got uint8 \(9, 30, 30\)"):
        fit_head(make_policy(), other, QUICK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"updates": 0}, "updates must be at least 1"),
        ({"batch_size": 1}, "batch_size 2"),
        ({"learning_rate": 0.0}, "learning_rate and action_bound must be positive"),
        ({"held_out": 1.0}, "held_out must be between 0 and 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        HeadConfig(**change)


@pytest.mark.parametrize("critic", [True, False])
def test_an_agent_that_was_trained_without_a_head_gets_one_and_acts_as_before(tmp_path, episodes, critic):
    agent = make_agent(config=HEADLESS, critic=critic)
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    flags = [parameter.requires_grad for parameter in agent.parameters()]
    fitted, metrics = fit_agent_heads(
        agent, episodes, config=HeadConfig(updates=600, batch_size=16, learning_rate=3e-3)
    )
    assert metrics["loss"] < 0.85 * metrics["loss_of_mean"]
    assert metrics["action_change"] == 0
    weights = fitted.state_dict()
    assert all(weights[name].equal(value) for name, value in before.items())
    assert all(value.equal(before[name]) for name, value in agent.state_dict().items())
    assert [parameter.requires_grad for parameter in agent.parameters()] == flags
    assert not fitted.encoder.color_matrix.requires_grad
    assert fitted.encoder.convolutions[0].weight.requires_grad
    save_checkpoint(tmp_path / "fitted", Checkpoint(fitted))
    loaded = load_checkpoint(tmp_path / "fitted").agent
    assert loaded.calibration == fitted.calibration
    obs, action, next_obs = next(episodes[0].transitions())
    adapting = AdaptivePolicy(loaded, AdaptationConfig(guards=NO_GUARDS))
    np.testing.assert_array_equal(adapting.act(obs), agent.act(obs))
    assert adapting.observe(obs, action, next_obs)["updates"] == 1


def test_colours_can_be_matched_to_those_that_a_head_of_an_agent_was_fitted_on(episodes):
    fitted, _ = fit_agent_heads(make_agent(config=HEADLESS), episodes[:5], config=dataclasses.replace(QUICK, updates=2))
    frames = [obs[-3:] for obs in episodes[4].observations[1:]]  # the episode that was held out
    colors = fitted.calibration.colors
    np.testing.assert_allclose(colors.mean, np.mean(frames, (0, 2, 3)) / 255, atol=0.05)
    assert fitted.calibration.largest_step > 0
    assert run_episode(make_gradient_env(), ColorMatchedPolicy(fitted), 0).steps == 10


def test_a_model_of_an_agent_reads_the_agents_own_calibration(agent):
    model = AgentModel(agent)
    assert model.calibration is None
    agent.calibration = Calibration(0.0, (0.0,) * 5, 1)
    assert model.calibration is agent.calibration


def test_an_agent_with_a_head_and_a_finetuned_agent_are_refused(agent, episodes):
    with pytest.raises(ValueError, match="has a self-supervised head for inverse_dynamics"):
        fit_agent_heads(agent, episodes, config=QUICK)
    with pytest.raises(ValueError, match="finetune is for policies that are not of this package"):
        fit_agent_heads(make_agent(config=HEADLESS), episodes, config=dataclasses.replace(QUICK, finetune=True))


def test_the_seed_alone_says_what_head_comes_out_whatever_was_drawn_before(episodes):
    found = []
    for before in (1, 2):
        policy = make_policy()
        torch.manual_seed(before)
        for parameter in policy.head.parameters():
            parameter.data.normal_()
        state = torch.random.get_rng_state()
        found.append(fit_head(policy, episodes[:5], dataclasses.replace(QUICK, updates=10), seed=3))
        assert torch.random.get_rng_state().equal(state)
    assert found[0] == found[1]


def test_too_few_decisions_to_calibrate_on_are_told_before_anything_is_fitted(episodes):
    short = [dataclasses.replace(e, observations=e.observations[:4], actions=e.actions[:3]) for e in episodes[:2]]
    with pytest.raises(ValueError, match="at least 5 decisions for a calibration, got 3"):
        fit_head(make_policy(), short, HeadConfig(updates=10**9))


def test_features_of_tokens_are_compared_channel_by_channel():
    policy = make_policy()
    tokens = torch.randn(1, 7, 4)
    np.testing.assert_allclose(policy.channels(tokens), tokens[0].mean(0).numpy(), rtol=1e-6)


def test_a_policy_whose_head_has_learned_nothing_does_not_adapt(fitted):
    with pytest.raises(ValueError, match="no self-supervised head yet: fit_head or load_head brings one"):
        AdaptivePolicy(make_policy(), AdaptationConfig(guards=NO_GUARDS))
    AdaptivePolicy(fitted[0], AdaptationConfig(guards=NO_GUARDS))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"camera": Camera((9, 24, 24), low=-1.0)}, "a policy with cameras .*'low': 0.0.*this one has .*'low': -1.0"),
        ({"space": gym.spaces.Box(-2, 2, (2,))}, r"a policy with actions .*-1.0, -1.0.*this one has .*-2.0, -2.0"),
        ({"space": gym.spaces.Discrete(4)}, "a policy with actions"),
        ({"input_range": None}, r"a policy with input_range \[0.0, 1.0\], this one has None"),
    ],
)
def test_a_head_is_refused_by_a_policy_that_is_declared_otherwise(tmp_path, fitted, declared, message):
    save_head(tmp_path / "head", fitted[0])
    plain = make_policy()
    other = TorchPolicy(
        plain.encoder,
        lambda *_: None,
        declared.get("camera", plain.cameras[0]),
        declared.get("space", gym.spaces.Box(-1, 1, (2,), np.float32)),
        declared.get("input_range", (0.0, 1.0)),
        padding=2,
    )
    with pytest.raises(ValueError, match=message):
        load_head(tmp_path / "head", other)


def test_an_encoder_without_gradients_is_refused_at_once():
    class Blocked(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(9, 2, 3)

        @torch.no_grad()
        def forward(self, pictures):
            return self.layer(pictures)

    with pytest.raises(ValueError, match="have no gradient: does it run under torch.no_grad"):
        TorchPolicy(Blocked(), lambda *_: None, Camera((9, 24, 24)), gym.spaces.Box(-1, 1, (2,)))


@pytest.mark.parametrize(("returned", "shape"), [(np.zeros((1, 2)), r"\(1, 2\)"), (np.zeros(3), r"\(3,\)")])
def test_an_action_of_another_shape_is_refused_before_a_machine_moves(episodes, returned, shape):
    policy = make_policy()
    policy.fitted, policy._act = True, lambda *_: returned
    with pytest.raises(ValueError, match=rf"action must have shape \(2,\), got {shape}"):
        AdaptivePolicy(policy, AdaptationConfig(guards=NO_GUARDS)).act(episodes[0].observations[0])


def test_a_policy_that_does_not_squash_its_actions_adapts_all_the_same(episodes):
    policy = make_policy()
    head = policy._act
    policy._act = lambda features, rest: 9 * head(features, rest)
    env = make_gradient_env(steps=10)
    recorded = [record_episode(env, FrozenPolicy(policy), seed, noise=0.5) for seed in range(4)]
    assert np.abs([episode.actions for episode in recorded]).max() == 1
    fit_head(policy, recorded, dataclasses.replace(QUICK, updates=5))
    adapting = AdaptivePolicy(
        policy, AdaptationConfig(batch_size=4, guards=GuardConfig(gate_features=None, gate_colors=None))
    )
    for obs, _, next_obs in list(episodes[0].transitions())[:8]:
        adapting.observe(obs, np.clip(adapting.act(obs), -1, 1), next_obs)
    assert adapting.report()["updates"] > 4
    assert not any(reason.startswith("failed") for reason in adapting.counts)


def test_scenes_that_change_as_fast_as_in_training_are_never_sudden(fitted):
    policy, _ = fitted
    assert policy.calibration.largest_step > 0.08  # so fast that it would else be taken for a broken camera
    watching = AdaptivePolicy(policy, AdaptationConfig(guards=GuardConfig(gate_features=1e9)))
    env, frozen = make_gradient_env(steps=10), FrozenPolicy(policy)
    for seed in range(10):
        assert run_episode(env, watching, seed).rewards == run_episode(env, frozen, seed).rewards
    assert "frames_sudden" not in watching.counts


def test_what_a_space_says_of_a_camera_can_be_written_down(tmp_path, episodes):
    space = gym.spaces.Box(0, 255, (9, 24, 24), np.uint8)
    camera = with_fields(Camera((9, 24, 24)), dtype=space.dtype, high=space.high.max(), shape=np.array(space.shape))
    camera.__post_init__()
    assert camera == Camera((9, 24, 24))
    plain = make_policy()
    policy = TorchPolicy(plain.encoder, plain._act, camera, gym.spaces.Box(-1, 1, (2,), np.float32), padding=2)
    fit_head(policy, episodes[:5], dataclasses.replace(QUICK, updates=2))
    save_head(tmp_path / "head", policy)
    assert load_head(tmp_path / "head", policy).calibration == policy.calibration


def test_a_policy_may_be_declared_where_gradients_are_off(episodes):
    with torch.inference_mode():
        policy = make_policy()
    fit_head(policy, episodes[:5], dataclasses.replace(QUICK, updates=2))
