"""What train.py does around a training: names, folders, and who may write into them."""

import sys
from pathlib import Path

import cli
import pytest
import train
import yaml
from test_commands import TINY

from pad import settings


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


def main(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--config", "tiny.yaml", "--run", "run", *arguments])
    train.main()


class Begun(Exception):
    """Stands for a training that has begun."""


@pytest.mark.parametrize("fails", ["make_phases", None])
def test_whoever_begins_second_in_a_folder_leaves_the_first_ones_run_alone(folder, monkeypatch, fails):
    make_agent, phases, begun = train.make_agent, train.make_phases, []

    def slow_make_agent(*given):
        if not begun:  # while the first one builds its agent the second one begins, and is the first to hold the folder
            begun.append(1)
            with pytest.raises(Begun):
                main(monkeypatch, "--seed", "5")
            if fails:
                monkeypatch.setattr(train, fails, broken)
        return make_agent(*given)

    def broken(*_):
        raise ValueError("no room")

    def start(*_, **__):
        raise Begun

    monkeypatch.setattr(train, "make_agent", slow_make_agent)
    monkeypatch.setattr(train, "start", start)
    with pytest.raises(cli.BadInput, match="run already holds a run"):
        main(monkeypatch, "--seed", "6")
    assert yaml.safe_load((folder / "run" / "config.yaml").read_text())["seed"] == 5
    assert train.make_phases in (phases, broken)


def test_what_cannot_be_trained_leaves_no_run_behind(folder, monkeypatch):
    def broken(*_):
        raise ValueError("no room")

    monkeypatch.setattr(train, "make_phases", broken)
    with pytest.raises(ValueError, match="no room"):
        main(monkeypatch)
    assert not (folder / "run").exists()


def test_a_group_is_all_seeds_of_one_configuration_and_nothing_else():
    def group(values: dict) -> str:
        return settings.from_dict(train.TrainConfig, values).group

    assert group({"seed": 1}) == group({"seed": 2, "device": "cuda", "threads": 2})
    assert group({}) != group({"training": {"weak_augmentation": "random_shift"}})
    assert group({}).startswith("cartpole_swingup_sac_")


@pytest.mark.slow
def test_a_run_that_goes_on_elsewhere_names_both_machines(folder, monkeypatch):
    monkeypatch.setattr(train, "hardware", lambda _: "a desk")
    main(monkeypatch)
    for _ in range(2):
        monkeypatch.setattr(train, "hardware", lambda _: "a rack")
        monkeypatch.setattr(sys, "argv", ["train.py", "--resume", "run"])
        train.main()
    about = yaml.safe_load((folder / "run" / "checkpoint" / "config.yaml").read_text())["about"]
    assert about["hardware"] == "a desk; then a rack"
