import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import with_fields

from pad import settings
from pad.agent import AgentConfig
from pad.cloning import CloneConfig
from pad.deployment import AdaptationConfig, GuardConfig, HeadConfig
from pad.encoder import EncoderConfig
from pad.expert import ExpertConfig
from pad.sac import SACConfig
from pad.tracking import TrackingConfig
from pad.training import TrainingConfig


@pytest.mark.parametrize("config", [AgentConfig(), TrainingConfig(), AdaptationConfig(layers=2, moves="convolutions")])
def test_settings_survive_yaml(config, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings.to_dict(config)))
    assert settings.read_yaml(type(config), path) == config


def test_absent_fields_keep_their_defaults_and_an_empty_file_changes_nothing(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("hidden: 7\n")
    assert settings.read_yaml(AgentConfig, path) == AgentConfig(hidden=7)
    path.write_text("")
    assert settings.read_yaml(AgentConfig, path) == AgentConfig()


@pytest.mark.parametrize("number", ["1e-3", "1E-3", "0.001", "1.0e-3", ".1e-2"])
def test_scientific_notation_is_a_number(number, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"learning_rate: {number}\n")
    assert settings.read_yaml(AdaptationConfig, path).learning_rate == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hiden: 7", "unknown key 'hiden'; did you mean 'hidden'"),
        ("encoder: {filter: 7}", "unknown key 'encoder.filter'; did you mean 'filters'"),
        ("zzz: 7", "unknown key 'zzz'; known: encoder, hidden, self_supervised, heads"),
        ("hidden: many", "hidden: .*integer.*got 'many'"),
        ("hidden: true", "hidden: .*integer.*got True"),
        ("hidden: 1.5", "hidden: .*integer.*got 1.5"),
        ("self_supervised: 1", "self_supervised: .*boolean.*got 1"),
        ("encoder: {strides: [2, x]}", "encoder.strides.1: .*integer.*got 'x'"),
        ("encoder: 3", "encoder must map names to values, got 3"),
        ("- 1", "settings must map names to values"),
        ("hidden: 1\nhidden: 2", "repeated key hidden"),
        ("hidden: [", "is not YAML"),
        ("encoder: {shared_layers: 99}", "shared_layers must be from 1 to 11, got 99"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_path(text, message, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        settings.read_yaml(AgentConfig, path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_names_one_inner_setting_leaves_the_others_as_that_field_has_them(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("recipe: clone\nexpert: {sac: {discount: 0.98}}")
    sac = settings.read_yaml(TrainingConfig, path).expert.sac
    assert sac == dataclasses.replace(TrainingConfig().expert.sac, discount=0.98)
    assert sac != dataclasses.replace(TrainingConfig().sac, discount=0.98)


def test_what_is_misspelt_in_python_is_said_with_the_choices():
    with pytest.raises(ValueError, match="heads must be a tuple, each item one of rotation, .*got .'rotations'"):
        with_fields(AgentConfig(), heads=("rotations",)).__post_init__()
    with pytest.raises(ValueError, match="initialization must be one of delta, orthogonal, got 'detla'"):
        with_fields(EncoderConfig(), initialization="detla").__post_init__()
    with pytest.raises(ValueError, match="recipe must be one of sac, clone, got 'cloning'"):
        with_fields(TrainingConfig(), recipe="cloning").__post_init__()


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (AdaptationConfig(), {"learning_rate": math.inf}, "learning_rate must be a finite number, got inf"),
        (AdaptationConfig(), {"learning_rate": True}, "learning_rate must be a finite number, got True"),
        (AdaptationConfig(), {"batch_size": 2.5}, "batch_size must be a whole number, got 2.5"),
        (AdaptationConfig(), {"batch_size": True}, "batch_size must be a whole number, got True"),
        (AdaptationConfig(), {"every": math.nan}, "every must be a whole number, got nan"),
        (AdaptationConfig(), {"transitions": "4"}, "transitions must be a whole number or None, got '4'"),
        (AdaptationConfig(), {"objectives": "rotation"}, "objectives must be a tuple, each item one of .*, got 'rot"),
        (AdaptationConfig(), {"precision": None}, "precision must be one of float32, bfloat16, auto, got None"),
        (GuardConfig(), {"trial": 2.5}, "trial must be a whole number or None, got 2.5"),
        (GuardConfig(), {"frames": "no"}, "frames must be True or False, got 'no'"),
        (GuardConfig(), {"pull": None}, "pull must be a finite number, got None"),
        (HeadConfig(), {"updates": 1e3}, "updates must be a whole number, got 1000.0"),
        (EncoderConfig(), {"strides": (2, 1.5)}, r"strides must be a tuple, each item a whole number, got \(2, 1.5"),
        (TrackingConfig(), {"wandb": "on"}, "wandb must be one of online, offline, disabled or None, got 'on'"),
        (TrackingConfig(), {"project": 3}, "project must be a string, got 3"),
        (TrainingConfig(), {"overlay_pictures": 3}, "overlay_pictures must be a Path or None, got 3"),
        (CloneConfig(), {"updates": 2.5}, "updates must be a whole number, got 2.5"),
        (SACConfig(), {"actor_every": 1.5}, "actor_every must be a whole number, got 1.5"),
        (ExpertConfig(), {"steps": None}, "steps must be a whole number, got None"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_with_what_is_allowed(config, fields, message):
    with pytest.raises(ValueError, match=message):
        with_fields(config, **fields).__post_init__()


def test_settings_within_settings_are_of_their_own_class():
    with pytest.raises(TypeError, match=r"encoder must be an EncoderConfig\(...\), got None"):
        with_fields(AgentConfig(), encoder=None).__post_init__()


def test_a_whole_number_passes_for_a_float_and_numpys_numbers_are_numbers():
    fields = {"learning_rate": 1, "batch_size": np.int64(2), "guards": with_fields(GuardConfig(), drift=np.float32(1))}
    given = with_fields(AdaptationConfig(), **fields)
    given.__post_init__()
    assert settings.to_dict(given)["batch_size"] == 2
    assert settings.from_dict(AdaptationConfig, settings.to_dict(given)).guards.drift == 1.0


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.yaml"):
        settings.read_yaml(AgentConfig, tmp_path / "nowhere.yaml")


def test_every_field_of_every_setting_has_a_type_that_yaml_can_say():
    for config in (AgentConfig(), TrainingConfig(), AdaptationConfig()):
        assert settings.from_dict(type(config), settings.to_dict(config)) == config
        assert dataclasses.is_dataclass(config)


def test_a_path_becomes_text_and_a_path_again():
    config = TrainingConfig(augmentations=("random_overlay",), overlay_pictures=Path("some/pictures"))
    assert settings.from_dict(TrainingConfig, settings.to_dict(config)) == config


def test_what_is_merged_into_a_mapping_may_be_said_otherwise_there(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("encoder: {<<: {shared_layers: 2, projection: 7}, shared_layers: 3}\n")
    encoder = settings.read_yaml(AgentConfig, path).encoder
    assert (encoder.shared_layers, encoder.projection) == (3, 7)


def test_a_list_stands_for_a_tuple_and_numpys_truth_for_pythons():
    listed = with_fields(AdaptationConfig(), objectives=["inverse_dynamics"], batch_size=10**400)
    listed.__post_init__()
    assert listed.objectives == ("inverse_dynamics",)
    assert isinstance(hash(listed), int)
    with_fields(GuardConfig(), frames=np.bool_(True)).__post_init__()
