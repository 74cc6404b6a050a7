from pathlib import Path
from typing import get_args

import pytest
import yaml
from conftest import SMALL  # noqa: F401  # puts the scripts' settings under the same import hook

import envs
from pad import settings
from pad.deployment import AdaptationConfig
from pad.strong import AugmentationName

ROOT = Path(__file__).parents[1]


def read(path: Path):
    from train import TrainConfig

    return settings.read_yaml(TrainConfig, path)


@pytest.fixture(autouse=True)
def scripts_on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))


@pytest.mark.parametrize("family", ["paper", "cpu"])
def test_the_nine_tasks_have_their_configs(family):
    assert {path.stem for path in (ROOT / "configs" / family).glob("*.yaml")} == set(envs.PAPER_TASKS)


@pytest.mark.parametrize("task", envs.PAPER_TASKS)
def test_the_papers_configs_say_what_the_paper_says(task):
    config = read(ROOT / "configs" / "paper" / f"{task}.yaml")
    env, encoder, training, sac = config.env, config.agent.encoder, config.training, config.training.sac
    assert (env.task, env.steps_per_decision, env.quality) == (task, envs.PAPER_TASKS[task], "standard")
    assert (env.image_size, env.frame_stack, env.episode_length, env.camera) == (100, 3, 1000, 0)
    assert (encoder.crop_size, encoder.filters, encoder.shared_layers, encoder.projection) == (84, 32, 8, 100)
    assert encoder.strides == (2,) + (1,) * 10
    assert (encoder.initialization, config.agent.hidden, config.agent.self_supervised) == ("delta", 1024, True)
    assert (training.recipe, training.steps, training.random_steps, training.batch_size) == ("sac", 500_000, 1_000, 128)
    assert (sac.learning_rate, sac.temperature_learning_rate, sac.initial_temperature) == (1e-3, 1e-4, 0.1)
    assert (sac.discount, sac.critic_tau, sac.encoder_tau, sac.actor_every) == (0.99, 0.01, 0.05, 2)
    assert training.self_supervise_every == 2


@pytest.mark.parametrize("task", envs.PAPER_TASKS)
def test_the_configs_for_two_cores_clone_an_expert_with_a_small_network(task):
    config = read(ROOT / "configs" / "cpu" / f"{task}.yaml")
    assert config.env.task == task
    assert config.training.recipe == "clone"
    assert config.agent.self_supervised
    assert len(config.agent.encoder.strides) <= 5


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "backgrounds").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_configs_before_random_backgrounds_are_those_for_two_cores_otherwise(path):
    config, plain = read(path), read(ROOT / "configs" / "cpu" / path.name)
    assert config.env == plain.env
    assert config.agent == plain.agent
    assert config.training.clone.augmentations == (*plain.training.clone.augmentations, "random_background")
    assert config.training.clone.both_ends


def test_a_config_holds_differences_from_the_defaults_and_their_reason():
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert path.read_text().startswith("# "), path


@pytest.mark.parametrize(
    "path",
    sorted(p for f in ("adaptation", "objectives", "cost") for p in (ROOT / "configs" / f).glob("*.yaml")),
    ids=lambda path: path.stem,
)
def test_adaptation_settings_are_valid(path):
    settings.read_yaml(AdaptationConfig, path)


def test_the_shipped_agents_say_how_they_were_made():
    shipped = sorted((ROOT / "pad" / "zoo").glob("*/config.yaml"))
    assert {path.parent.name for path in shipped} >= {"cartpole_swingup", "walker_walk"}
    for path in shipped:
        assert sum(part.stat().st_size for part in path.parent.iterdir()) < 25e6
        about = yaml.safe_load(path.read_text())["about"]
        assert {"command", "recipe", "seed", "training_minutes"} <= set(about)
        assert (path.parent / "metrics.jsonl").is_file()


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_valid(path):
    read(path)


def test_each_recipe_is_another_one():
    recipes = [read(path) for path in (ROOT / "configs" / "recipes").glob("*.yaml")]
    assert len({str((config.env, config.training)) for config in recipes}) == len(recipes)
    of_clones = {"random_background"}  # which soft actor-critic from pixels refuses
    used = {name for config in recipes for name in config.training.augmentations}
    assert used == set(get_args(AugmentationName)) - of_clones
    assert {config.training.critic for config in recipes} == {"pixels", "state"}
