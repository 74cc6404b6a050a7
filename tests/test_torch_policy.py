import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import with_fields
from torch import nn

from pad.calibration import Calibration
from pad.deployment import NO_GUARDS, AdaptationConfig, AdaptivePolicy, Camera, FrozenPolicy, GuardConfig
from pad.deployment.torch_policy import TorchPolicy

BOX = gym.spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))
COLOR = AdaptationConfig(batch_size=4, memory=8, transitions=None, guards=NO_GUARDS)
DETAIL = dataclasses.replace(COLOR, moves="color_and_detail")
CONVOLUTIONS = dataclasses.replace(COLOR, moves="convolutions", learning_rate=1e-3)
BOTH = dataclasses.replace(CONVOLUTIONS, moves="convolutions_and_head")


@pytest.fixture(autouse=True)
def fitted(monkeypatch):
    """What a head infers does not matter here."""
    monkeypatch.setattr(TorchPolicy, "fitted", property(lambda _: True, lambda *_: None), raising=False)


class Network(nn.Module):
    """A user's network: convolutions, and a head that gives actions in the environment's units."""

    def __init__(self, channels: int = 3, actions: int = 2, vector: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
        )
        self.head = nn.LazyLinear(actions)
        self.vector = vector

    def forward(self, pictures: torch.Tensor, vector: torch.Tensor | None = None) -> torch.Tensor:
        return self.act_on(self.encoder(pictures), vector)

    def act_on(self, features: torch.Tensor, vector: torch.Tensor | None = None) -> torch.Tensor:
        flat = features.flatten(1)
        return self.head(flat if vector is None else torch.cat([flat, vector], 1))


class TwoCameras(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.front, self.wrist = nn.Conv2d(3, 2, 3, 2), nn.Conv2d(1, 2, 3, 2)

    def forward(self, pictures: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([self.front(pictures["front"]).flatten(1), self.wrist(pictures["wrist"]).flatten(1)], 1)


CAMERAS = {
    "CHW_uint8": Camera((3, 16, 20)),
    "HWC_uint8": Camera((16, 20, 3), layout="HWC"),
    "CHW_float": Camera((3, 16, 20), dtype="float32", low=0.0, high=1.0),
    "HWC_float": Camera((16, 20, 3), layout="HWC", dtype="float32", low=0.0, high=1.0),
    "CHW_around_zero": Camera((3, 16, 20), dtype="float32", low=-1.0, high=1.0),
}


def picture(camera: Camera, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(camera.low, camera.high, camera.shape)
    return values.astype(camera.dtype)


def make(camera: Camera = CAMERAS["CHW_uint8"], **settings) -> tuple[TorchPolicy, Network]:
    network = Network().eval()
    network(torch.zeros(1, 3, 16, 20))
    act = lambda features, _: network.act_on(features)[0].numpy()  # noqa: E731
    return TorchPolicy(network.encoder, act, camera, BOX, **settings), network


def make_discrete() -> tuple[TorchPolicy, Network]:
    network = Network(actions=4).eval()
    network(torch.zeros(1, 3, 16, 20))
    act = lambda features, _: int(network.act_on(features).argmax(1)[0])  # noqa: E731
    return TorchPolicy(network.encoder, act, CAMERAS["CHW_uint8"], gym.spaces.Discrete(4)), network


def make_dictionary() -> tuple[TorchPolicy, nn.Module]:
    encoder = TwoCameras().eval()
    head = nn.LazyLinear(2)

    def act(features, rest):
        joints = torch.as_tensor(rest["joints"], dtype=torch.float32)[None]
        return head(torch.cat([features, joints], 1))[0].numpy()

    with torch.no_grad():
        head(torch.zeros(1, 2 * 7 * 9 + 2 * 5 * 5 + 3))
    cameras = [
        Camera((16, 20, 3), "front", "HWC"),
        Camera((1, 12, 12), "wrist", dtype="float32", high=1.0, frame_channels=1),
    ]
    policy = TorchPolicy(encoder, act, cameras, BOX)
    policy.plain = lambda front, wrist, joints: head(
        torch.cat([encoder({"front": front, "wrist": wrist}), joints], 1)
    )  # what the user's own network does
    return policy, encoder


def dictionary(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "front": rng.integers(256, size=(16, 20, 3), dtype=np.uint8),
        "wrist": rng.uniform(0, 1, (1, 12, 12)).astype(np.float32),
        "joints": rng.normal(size=3),
    }


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def moved(module: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in module.state_dict().items() if not value.equal(before[name])}


def transition(policy: TorchPolicy, action=(0.5, 3.0)):
    camera = policy.cameras[0]
    return picture(camera, 0), np.array(action, np.float32), picture(camera, 1)


@pytest.mark.parametrize("name", CAMERAS)
def test_the_untouched_policy_acts_exactly_as_the_users_network(name):
    policy, network = make(CAMERAS[name])
    for seed in range(3):
        obs = picture(policy.cameras[0], seed)
        first = obs if name.startswith("CHW") else obs.transpose(2, 0, 1)
        low, high = policy.cameras[0].low, policy.cameras[0].high
        with torch.no_grad():
            expected = network((torch.tensor(first.copy())[None].float() - low) / (high - low))[0].numpy()
        np.testing.assert_array_equal(FrozenPolicy(policy).act(obs), expected)
        np.testing.assert_array_equal(AdaptivePolicy(policy, COLOR).act(obs), expected)


@pytest.mark.parametrize(
    ("input_range", "expected"), [((0.0, 1.0), (0.0, 1.0)), ((-1.0, 1.0), (-1.0, 1.0)), (None, (0.0, 255.0))]
)
def test_the_encoder_sees_black_and_white_as_it_was_told(input_range, expected):
    policy, _ = make(input_range=input_range)
    seen = []
    policy.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    obs = np.zeros((3, 16, 20), np.uint8)
    obs[:, 8:] = 255
    FrozenPolicy(policy).act(obs)
    assert (seen[0].min().item(), seen[0].max().item()) == expected


@pytest.mark.parametrize(
    ("config", "prefixes"),
    [
        (COLOR, {"color.0.matrix", "color.0.offset"}),
        (dataclasses.replace(CONVOLUTIONS, layers=1), {"encoder.0.weight", "encoder.0.bias"}),
        (dataclasses.replace(CONVOLUTIONS, layers=2), {"encoder.0.", "encoder.2."}),
        (CONVOLUTIONS, {"encoder."}),
        (BOTH, {"encoder.", "head."}),
    ],
)
def test_exactly_what_was_asked_for_moves(config, prefixes):
    policy, _ = make()
    adapting = AdaptivePolicy(policy, config)
    before = weights(adapting.model.network)
    adapting.observe(*transition(policy))
    parameters = {name for name, _ in policy.network.named_parameters()}
    assert set(adapting.parameter_names) == {name for name in parameters if name.startswith(tuple(prefixes))}
    # What normalization goes on from stays: only parameters move.
    assert moved(adapting.model.network, before) == set(adapting.parameter_names)


@pytest.mark.parametrize("config", [COLOR, CONVOLUTIONS, BOTH])
def test_the_users_own_network_is_never_changed(config):
    policy, network = make()
    before, flags = weights(network), [p.requires_grad for p in network.parameters()]
    adapting = AdaptivePolicy(policy, config)
    adapting.observe(*transition(policy))
    adapting.act(transition(policy)[0])
    assert not moved(network, before)
    assert [p.requires_grad for p in network.parameters()] == flags


def test_a_network_in_training_mode_is_left_in_it_and_evaluated_all_the_same():
    network = Network()
    network(torch.zeros(2, 3, 16, 20))
    network.train()
    policy = TorchPolicy(network.encoder, lambda f, _: network.act_on(f)[0].numpy(), CAMERAS["CHW_uint8"], BOX)
    assert network.encoder.training
    assert not policy.encoder.training


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("config", [COLOR, DETAIL, CONVOLUTIONS])
def test_adaptation_lowers_the_loss_whatever_the_pixels_are_like(name, config):
    policy, _ = make(CAMERAS[name])
    adapting = AdaptivePolicy(policy, dataclasses.replace(config, batch_size=8, learning_rate=1e-2))
    losses = [adapting.observe(*transition(policy))["self_supervised_loss"] for _ in range(40)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


class Viewing(nn.Module):
    """Flattens by view, as many networks do, which only memory in the usual order allows."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.shades = nn.Conv2d(3, 4, 3, 2), nn.Linear(3 * 16 * 20, 4)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        count = len(pictures)
        return torch.cat([self.convolution(pictures).view(count, -1), self.shades(pictures.view(count, -1))], 1)


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("config", [COLOR, DETAIL, CONVOLUTIONS])
def test_an_encoder_that_flattens_by_view_acts_and_adapts(name, config):
    policy = TorchPolicy(Viewing(), lambda features, _: features[0, :2].numpy(), CAMERAS[name], BOX)
    adapting = AdaptivePolicy(policy, config)
    for seed in range(3):
        obs, next_obs = picture(CAMERAS[name], seed), picture(CAMERAS[name], seed + 1)
        adapting.act(obs)
        assert adapting.observe(obs, np.array([0.5, 3.0], np.float32), next_obs)["updates"] == 1


def test_two_cameras_and_proprioception_act_as_the_users_network_and_adapt():
    policy, encoder = make_dictionary()
    obs, next_obs = dictionary(0), dictionary(1)
    front = torch.tensor(obs["front"]).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        expected = policy.plain(front, torch.tensor(obs["wrist"])[None], torch.tensor(obs["joints"]).float()[None])
    adapting = AdaptivePolicy(policy, COLOR)
    np.testing.assert_array_equal(adapting.act(obs), expected[0].numpy())
    before, untouched = weights(adapting.model.network), weights(encoder)
    adapting.observe(obs, np.array([0.5, 3.0]), next_obs)
    names = {f"color.{camera}.{part}" for camera in (0, 1) for part in ("matrix", "offset")}
    assert moved(adapting.model.network, before) == names
    assert not moved(encoder, untouched)


def test_each_camera_has_a_filter_of_its_own():
    policy, _ = make_dictionary()
    adapting = AdaptivePolicy(policy, DETAIL)
    obs, next_obs = dictionary(0), dictionary(1)
    before = adapting.act(obs)
    np.testing.assert_array_equal(before, AdaptivePolicy(policy, COLOR).act(obs))
    adapting.observe(obs, np.array([0.5, 3.0]), next_obs)
    assert {"details.0.weight", "details.1.weight"} < set(adapting.parameter_names)
    assert all(filtering.weight.any() for filtering in adapting.model.details)
    assert policy.details is None
    assert (adapting.act(obs) != before).any()


def test_a_single_camera_of_a_dictionary_reaches_the_encoder_as_a_tensor():
    network = Network().eval()
    network(torch.zeros(1, 3, 16, 20))
    policy = TorchPolicy(
        network.encoder, lambda f, rest: network.act_on(f)[0].numpy() + rest["bias"], Camera((3, 16, 20), "view"), BOX
    )
    obs = {"view": picture(policy.cameras[0], 0), "bias": np.array([1.0, 2.0])}
    with torch.no_grad():
        expected = network(torch.tensor(obs["view"])[None].float() / 255)[0].numpy() + obs["bias"]
    np.testing.assert_array_equal(AdaptivePolicy(policy, COLOR).act(obs), expected)


def test_discrete_actions_adapt_by_cross_entropy():
    policy, network = make_discrete()
    obs, next_obs = picture(policy.cameras[0], 0), picture(policy.cameras[0], 1)
    adapting = AdaptivePolicy(policy, dataclasses.replace(BOTH, learning_rate=1e-2))
    with torch.no_grad():
        assert adapting.act(obs) == int(network(torch.tensor(obs)[None].float() / 255).argmax())
    losses = [adapting.observe(obs, 2, next_obs)["self_supervised_loss"] for _ in range(30)]
    assert losses[0] > 0
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_discrete_actions_count_from_the_spaces_start():
    network = Network(actions=4).eval()
    policy = TorchPolicy(network.encoder, lambda *_: 5, Camera((3, 16, 20)), gym.spaces.Discrete(4, start=5))
    assert policy.action(5).item() == 0
    assert policy.action(np.int64(8)).item() == 3
    with pytest.raises(ValueError, match="action must be one of Discrete"):
        policy.action(4)


def test_actions_are_learned_from_on_a_scale_from_minus_one_to_one():
    policy, _ = make()
    assert policy.action(np.array([-2.0, 10.0])).tolist() == [-1.0, 1.0]
    assert policy.action(np.array([0.0, 5.0])).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match=r"action must have shape \(2,\), got \(3,\)"):
        policy.action(np.zeros(3))


def test_guards_compare_actions_on_that_scale_and_discrete_ones_by_whether_they_differ():
    policy, _ = make()
    assert policy.compared(np.array([-2.0, 10.0])).tolist() == [-1.0, 1.0]
    policy, _ = make_discrete()
    first, second, last = (policy.compared(action) for action in (0, 1, 3))
    assert np.square(first - last).mean() == pytest.approx(np.square(first - second).mean()) == pytest.approx(1)


def test_the_head_sees_both_observations_of_a_transition_shifted_alike():
    policy, _ = make()
    seen = []
    policy.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    obs = picture(policy.cameras[0], 0)
    step = policy.transition(obs, np.array([0.5, 3.0]), obs)
    policy.loss([step], torch.zeros(16, dtype=torch.int64), COLOR, torch.Generator().manual_seed(0))
    before, after = seen[0].chunk(2)
    assert before.equal(after)
    assert len(before.unique(dim=0)) > 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda obs: np.full_like(obs, np.nan), "not_finite"),
        (lambda obs: np.where(obs > 0.5, np.inf, obs).astype(np.float32), "not_finite"),
        (lambda obs: np.zeros_like(obs), "constant"),
        (lambda obs: obs[:, :8], "shape"),
        (lambda obs: (255 * obs).astype(np.uint8), "dtype"),
        (lambda obs: obs.tolist(), "type"),
    ],
)
@pytest.mark.parametrize("name", ["CHW_float", "HWC_float"])
def test_float_frames_that_no_camera_sends_are_neither_acted_on_nor_learned_from(name, change, fault):
    policy, _ = make(CAMERAS[name])
    adapting = AdaptivePolicy(policy, dataclasses.replace(COLOR, guards=dataclasses.replace(NO_GUARDS, frames=True)))
    obs, action, _ = transition(policy)
    expected = adapting.act(obs)
    broken = change(obs)
    before = weights(adapting.model.network)
    metrics = adapting.observe(obs, action, broken)
    assert metrics["updates"] == 0
    assert metrics[f"guards/frames_{fault}"] == 1
    np.testing.assert_array_equal(adapting.act(broken), expected)
    assert not moved(adapting.model.network, before)


def test_a_first_frame_of_no_numbers_still_gives_an_action():
    policy, _ = make(CAMERAS["CHW_float"])
    adapting = AdaptivePolicy(policy, dataclasses.replace(COLOR, guards=dataclasses.replace(NO_GUARDS, frames=True)))
    assert np.isfinite(adapting.act(np.full((3, 16, 20), np.nan, np.float32))).all()


def test_all_guards_together_work_on_a_policy_with_a_calibration():
    policy, _ = make(CAMERAS["HWC_float"])
    with pytest.raises(ValueError, match="no calibration for a gate"):
        AdaptivePolicy(policy)
    policy.calibration = Calibration(0.0, (0.0,) * 5, 1)
    adapting = AdaptivePolicy(
        policy, dataclasses.replace(COLOR, guards=GuardConfig(gate_features=None, gate_colors=None))
    )
    rng = np.random.default_rng(0)
    base = picture(policy.cameras[0], 0)
    for _ in range(40):
        obs, next_obs = (np.clip(base + rng.uniform(-0.02, 0.02, base.shape), 0, 1).astype(np.float32) for _ in "ab")
        assert np.isfinite(adapting.act(obs)).all()
        adapting.observe(obs, np.array([1.0, 8.0]), next_obs)
    assert adapting.counts["accepted"] > 0


def test_learning_in_the_background_moves_a_policy_of_yours_too():
    policy, _ = make()
    with AdaptivePolicy(policy, COLOR, adaptation="background") as adapting:
        before = adapting.act(transition(policy)[0])
        for _ in range(3):
            adapting.observe(*transition(policy))
        adapting._background.drain()
        assert not np.array_equal(adapting.act(transition(policy)[0]), before)


def test_what_was_learned_is_saved_and_loaded(tmp_path):
    policy, _ = make()
    learned, fresh = AdaptivePolicy(policy, BOTH), AdaptivePolicy(policy, BOTH)
    learned.observe(*transition(policy))
    learned.save(tmp_path / "state")
    fresh.load(tmp_path / "state")
    obs = transition(policy)[0]
    np.testing.assert_array_equal(fresh.act(obs), learned.act(obs))


class NoBatch(nn.Conv2d):
    def forward(self, pictures):
        return super().forward(pictures).mean(0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"encoder": nn.Flatten()}, TypeError, "with parameters, got Flatten"),
        ({"encoder": torch.jit.script(nn.Conv2d(3, 4, 3))}, TypeError, "plain torch.nn.Module, got one with scripted"),
        ({"encoder": nn.Conv2d(9, 4, 3)}, ValueError, r"does not take pictures of \[\(2, 3, 16, 20\)\]: .*9 channels"),
        ({"encoder": NoBatch(3, 4, 3)}, ValueError, r"must give a tensor .* got \(4, 14, 18\)"),
        ({"cameras": []}, ValueError, "several cameras need a key each"),
        ({"cameras": [Camera((3, 16, 20)), Camera((3, 16, 20), "b")]}, ValueError, "several cameras need a key each"),
        ({"cameras": [Camera((3, 16, 20), "a")] * 2}, ValueError, "several cameras need a key each, got .'a', 'a'."),
        ({"action_space": gym.spaces.MultiBinary(3)}, ValueError, "Discrete, or a Box with finite low < high"),
        ({"action_space": gym.spaces.Box(-np.inf, np.inf, (2,))}, ValueError, "Box with finite low < high"),
        (
            {"action_space": gym.spaces.Box(np.zeros(2, np.float32), np.array([0, 1], np.float32))},
            ValueError,
            "finite low < high",
        ),
        ({"padding": -1}, ValueError, "padding must be at least 0, got -1"),
    ],
)
def test_wrong_declarations_are_refused_with_what_is_wrong(change, error, message):
    declared = {"encoder": Network().encoder, "cameras": Camera((3, 16, 20)), "action_space": BOX, **change}
    with pytest.raises(error, match=message):
        TorchPolicy(act=lambda *_: None, **declared)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (4, 16, 20)}, "does not hold whole frames of 3"),
        ({"low": 1.0, "high": 1.0}, "high must exceed low"),
        ({"high": float("inf")}, "both be finite"),
        ({"dtype": "float32"}, "high must be declared for float32 pixels"),
        ({"dtype": "flaot32"}, "dtype must be one of numbers.*got 'flaot32'"),
        ({"dtype": "str"}, "dtype must be one of numbers.*got 'str'"),
        ({"frame_channels": 0}, "does not hold whole frames of 0"),
        ({"frame_channels": -1}, "does not hold whole frames of -1"),
    ],
)
def test_a_camera_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Camera(**{"shape": (3, 16, 20), **change})


def test_a_shape_may_come_as_a_list():
    camera = with_fields(Camera((3, 16, 20)), shape=[3, 16, 20])
    camera.__post_init__()
    assert camera.fault(np.zeros((3, 16, 20), np.uint8)) is None


@pytest.mark.parametrize("guards", [NO_GUARDS, dataclasses.replace(NO_GUARDS, frames=True)])
def test_a_first_observation_of_another_range_than_declared_is_refused(guards):
    policy, _ = make(CAMERAS["CHW_float"])
    obs = 255 * picture(CAMERAS["CHW_float"], 0)
    with pytest.raises(ValueError, match=r"pixels from 0.\d+ to 254.*declared are 0 \(black\) to 1 \(white\)"):
        AdaptivePolicy(policy, dataclasses.replace(COLOR, guards=guards)).act(obs)


@pytest.mark.parametrize(
    ("obs", "error", "message"),
    [
        (np.zeros((16, 20, 3), np.uint8), ValueError, r"must be uint8 \(3, 16, 20\), got uint8 \(16, 20, 3\)"),
        (np.zeros((3, 16, 20), np.float32), ValueError, "got float32"),
        ([1, 2], TypeError, "must be a numpy array, got list"),
    ],
)
def test_a_first_observation_of_another_kind_than_declared_is_refused(obs, error, message):
    policy, _ = make()
    with pytest.raises(error, match=message):
        AdaptivePolicy(policy, COLOR).act(obs)


def test_an_observation_without_the_declared_entry_is_refused_by_its_name():
    policy, _ = make_dictionary()
    obs = dictionary(0)
    del obs["wrist"]
    with pytest.raises(TypeError, match="must map 'wrist' to pixels, got keys .'front', 'joints'."):
        AdaptivePolicy(policy, COLOR).act(obs)


def test_more_layers_than_the_encoder_has_cannot_move():
    policy, _ = make()
    with pytest.raises(ValueError, match="layers must be at most 3 for this policy, got 4"):
        AdaptivePolicy(policy, dataclasses.replace(CONVOLUTIONS, layers=4))


def test_affine_moves_biases_and_scales_of_normalisation():
    policy, _ = make()
    names = AdaptivePolicy(policy, dataclasses.replace(CONVOLUTIONS, moves="affine")).parameter_names
    assert names == ["encoder.0.bias", "encoder.2.bias", "encoder.3.weight", "encoder.3.bias"]


def test_affine_knows_normalisation_by_its_kind():
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.LayerNorm([4, 14, 18], bias=False), nn.ReLU())
    policy = TorchPolicy(encoder, lambda features, _: features, CAMERAS["CHW_uint8"], BOX)
    adapting = AdaptivePolicy(policy, dataclasses.replace(CONVOLUTIONS, moves="affine"))
    assert adapting.parameter_names == ["encoder.1.weight"]


def test_affine_needs_something_to_move():
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU())
    policy = TorchPolicy(encoder, lambda features, _: features, CAMERAS["CHW_uint8"], BOX)
    with pytest.raises(ValueError, match="neither biases nor normalisation that could move"):
        AdaptivePolicy(policy, dataclasses.replace(CONVOLUTIONS, moves="affine"))


class Scaled(nn.Module):
    """A parameter at the root, and layers below it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.a, self.b = nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 4, 3)

    def forward(self, pictures):
        return self.scale * self.b(self.a(pictures))


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (1, {"encoder.scale"}),
        (2, {"encoder.scale", "encoder.a.weight", "encoder.a.bias"}),
        (3, {"encoder.scale", "encoder.a.weight", "encoder.a.bias", "encoder.b.weight", "encoder.b.bias"}),
    ],
)
def test_as_many_layers_move_as_are_asked_for_wherever_weights_are(layers, names):
    policy = TorchPolicy(Scaled(), lambda *_: np.zeros(2), Camera((3, 16, 20)), BOX)
    assert set(policy.moving(dataclasses.replace(CONVOLUTIONS, layers=layers))) == names


def test_an_action_in_other_units_is_refused_and_one_beyond_a_bound_is_held_there():
    policy, _ = make()
    with pytest.raises(ValueError, match=r"action must be within Box.*got \[ ?50. -80.\]"):
        policy.action(np.array([50.0, -80.0]))
    assert policy.action(np.array([2.1, -1.0])).tolist() == [1, -1]
    assert not policy.action(np.array([np.inf, 0.0])).isfinite().all()


def test_an_action_that_is_held_by_the_loop_is_not_written_to_by_a_trial():
    buffer = np.zeros(2, np.float32)

    def act(features, _):
        buffer[:] = features.detach().flatten()[:2].numpy()
        return buffer

    policy = TorchPolicy(Network().encoder, act, Camera((3, 16, 20)), BOX)
    first = AdaptivePolicy(policy, COLOR).act(picture(policy.cameras[0], 0))
    before = first.copy()
    AdaptivePolicy(policy, COLOR).act(picture(policy.cameras[0], 1))
    assert (first == before).all()


def test_other_entries_are_the_newest_whatever_became_of_the_pictures():
    seen = []

    def act(_, rest):
        seen.append({name: float(value) for name, value in rest.items()})
        return np.zeros(2, np.float32)

    camera = Camera((3, 16, 20), "view")
    config = dataclasses.replace(COLOR, guards=dataclasses.replace(NO_GUARDS, frames=True))
    policy = AdaptivePolicy(TorchPolicy(Network().encoder, act, camera, BOX), config)
    policy.act({"view": picture(camera, 0), "joint": 1.0, "speed": 2.0})
    policy.act({"view": None, "joint": 3.0})
    policy.reset()
    policy.act({"view": None, "joint": 7.0})
    policy.act(None)
    one, two = {"joint": 1.0, "speed": 2.0}, {"joint": 3.0, "speed": 2.0}
    assert seen == [one, two, {"joint": 7.0, "speed": 2.0}, {"joint": 7.0, "speed": 2.0}]


def test_an_observation_of_any_mapping_is_judged_once():
    camera = Camera((3, 16, 20), "view")
    config = dataclasses.replace(COLOR, guards=dataclasses.replace(NO_GUARDS, frames=True))
    policy = AdaptivePolicy(TorchPolicy(Network().encoder, lambda *_: np.zeros(2), camera, BOX), config)
    good, other = (MappingProxyType({"view": picture(camera, seed), "joint": [1.0, 2.0]}) for seed in range(2))
    black = MappingProxyType({"view": np.zeros((3, 16, 20), np.uint8), "joint": [1.0, 2.0]})
    policy.act(good)
    policy.observe(good, np.zeros(2, np.float32), black)
    policy.act(black)
    policy.observe(black, np.zeros(2, np.float32), other)
    assert policy.counts["frames_constant"] == 1


def test_a_head_that_works_in_place_does_not_change_what_guards_judge_by():
    def losses(inplace: bool) -> list[float]:
        torch.manual_seed(0)
        encoder, head = nn.Conv2d(3, 4, 3, 2), nn.Linear(4 * 7 * 9, 2)
        act = nn.Sequential(nn.ReLU(inplace=inplace), nn.Flatten(), head, nn.Tanh())
        policy = TorchPolicy(encoder, lambda f, _: act(f)[0].numpy(), CAMERAS["CHW_uint8"], BOX)
        adapting = AdaptivePolicy(
            policy, dataclasses.replace(COLOR, guards=GuardConfig(gate_features=None, gate_colors=None, gate=None))
        )
        found, add = [], adapting._learner._trial.add
        adapting._learner._trial.add = lambda *measured: found.append(measured[:2]) or add(*measured)
        obs = picture(policy.cameras[0], 0)
        for step in range(6):
            action = adapting.act(obs)
            next_obs = np.clip(obs.astype(int) + step % 3 - 1, 0, 255).astype(np.uint8)
            adapting.observe(obs, action, next_obs)
            obs = next_obs
        return found

    assert len(losses(False)) > 2
    assert losses(True) == losses(False)


def test_entries_that_are_tensors_and_filled_again_are_read_again():
    policy, _ = make_dictionary()
    adapting, obs = AdaptivePolicy(policy, COLOR), dictionary(0)
    obs["joints"] = torch.zeros(3)
    first = adapting.act(obs)
    obs["joints"].fill_(1.0)
    assert (adapting.act(obs) != first).any()


def test_other_units_than_declared_are_told_though_the_camera_was_black_at_first():
    policy, _ = make(CAMERAS["CHW_float"])
    adapting = AdaptivePolicy(
        policy, dataclasses.replace(COLOR, guards=GuardConfig(gate_features=None, gate_colors=None))
    )
    black = np.zeros((3, 16, 20), np.float32)
    adapting.act(black)
    adapting.observe(black, np.array((0.5, 3.0), np.float32), black)
    with pytest.warns(RuntimeWarning, match="declared are 0 .black. to 1 .white."):
        adapting.act(255 * picture(CAMERAS["CHW_float"], 0))
    assert np.isfinite(adapting.act(picture(CAMERAS["CHW_float"], 0))).all()


def test_other_entries_that_are_missing_or_no_numbers_are_the_last_good_ones():
    policy, _ = make_dictionary()
    adapting = AdaptivePolicy(
        policy, dataclasses.replace(COLOR, guards=GuardConfig(gate_features=None, gate_colors=None))
    )
    obs = dictionary(0)
    expected = adapting.act(obs)
    np.testing.assert_array_equal(adapting.act({**obs, "joints": np.array([0.0, np.nan, 0.0])}), expected)
    np.testing.assert_array_equal(adapting.act({name: obs[name] for name in ("front", "wrist")}), expected)
    assert (adapting.act({**obs, "joints": np.ones(3)}) != expected).any()
    assert adapting.counts == {"entries_not_finite": 1, "entries_missing": 1}
    adapting.reset()
    assert np.isnan(adapting.act({**obs, "joints": np.full(3, np.nan)})).any()  # there is none to go back to
