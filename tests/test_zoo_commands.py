"""The agents that ship: listed, shown, made again; and settings screened on them."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import imageio.v3 as iio
import numpy as np
import pytest
import reproduce  # before the zoo is another one: what it imports would be that for good
import ship
import yaml
import zoo
from test_commands import ROOT, TINY, call

from pad import checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a run that has been trained and shipped into a zoo of its own, and evaluated there."""
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "tiny.yaml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        for module in (checkpoint, zoo, ship):
            patch.setattr(module, "ZOO", folder / "zoo")
        assert call("train.py --config tiny.yaml --run runs/tiny --seed 3", folder).returncode == 0
        assert (
            call("ship.py runs/tiny tiny 'python scripts/train.py --config tiny.yaml --seed 3'", folder).returncode == 0
        )
        shutil.copytree(folder / "zoo" / "tiny", folder / "zoo" / "fresh")
        command = (
            "eval.py --checkpoint tiny --adapt --adaptation unguarded --shift none color_hard --episodes 2 --workers 1"
        )
        result = call(f"{command} --output zoo/tiny/evaluation.json", folder)
        assert result.returncode == 0, result.stderr
        shutil.copytree(folder / "zoo" / "tiny", folder / "zoo" / "other")
        written = json.loads((folder / "zoo" / "tiny" / "evaluation.json").read_text())
        written["settings"]["adapter"]["learning_rate"] = 0.5
        (folder / "zoo" / "other" / "evaluation.json").write_text(json.dumps(written))
        shutil.copytree(folder / "zoo" / "fresh", folder / "zoo" / "single")
        command = "eval.py --checkpoint tiny --adapt --adaptation unguarded --episodes 1 --workers 1"
        assert call(f"{command} --output zoo/single/evaluation.json", folder).returncode == 0
        shutil.copytree(folder / "runs" / "tiny", folder / "runs" / "unfinished")
        described = folder / "runs" / "unfinished" / "checkpoint" / "config.yaml"
        described.write_text(yaml.safe_dump({**yaml.safe_load(described.read_text()), "calibration": None}))
        # Stopped before its end, and calibrated by hand.
        shutil.copytree(folder / "runs" / "tiny", folder / "runs" / "stopped")
        described = folder / "runs" / "stopped" / "checkpoint" / "config.yaml"
        about = yaml.safe_load(described.read_text())["about"]
        assert about["finished"]
        changed = {**yaml.safe_load(described.read_text()), "about": {**about, "finished": False}}
        described.write_text(yaml.safe_dump(changed))
        shutil.copytree(folder / "runs" / "tiny", folder / "runs" / "others" / "tiny")
        other = folder / "runs" / "others" / "tiny" / "config.yaml"
        other.write_text(other.read_text().replace("seed: 3", "seed: 4"))
        yield folder


def test_the_list_names_every_agent_with_its_returns(folder):
    result = call("zoo.py list", folder)
    assert result.returncode == 0
    header, fresh, _, single, tiny, *_ = result.stdout.splitlines()
    assert header.split()[:5] == ["name", "seed", "recipe", "minutes", "MB"]
    assert fresh.split()[:3] == ["fresh", "3", "clone"]
    assert fresh.count("-") == 5
    assert single.count("-") == 4
    cells = json.loads((folder / "zoo" / "tiny" / "evaluation.json").read_text())["shifts"]
    for shift in ("none", "color_hard"):
        comparison = cells[shift]["comparison"]
        assert f"{comparison['frozen']['mean']:.0f} > {comparison['adapted']['mean']:.0f}" in tiny


def test_an_agent_that_ships_does_not_say_that_it_is_finished(folder):
    assert "finished" not in yaml.safe_load((folder / "zoo" / "tiny" / "config.yaml").read_text())["about"]


def test_one_agent_is_shown_with_how_it_was_made(folder):
    shown = call("zoo.py show tiny", folder).stdout
    assert "command: python scripts/train.py --config tiny.yaml --seed 3" in shown
    assert "2 episodes of seed 0, unguarded" in shown
    assert "color_hard:" in shown
    assert "not evaluated yet" in call("zoo.py show fresh", folder).stdout


def test_every_shipped_agent_trains_again_with_its_own_settings():
    for path in (ROOT / "pad" / "zoo").glob("*/training.yaml"):
        from train import TrainConfig

        from pad import settings

        trained, shipped = (
            settings.read_yaml(TrainConfig, path),
            yaml.safe_load((path.parent / "config.yaml").read_text()),
        )
        assert trained.env.task == shipped["env"]["task"]
        assert trained.seed == shipped["about"]["seed"]
        assert dataclasses.asdict(trained.agent)["hidden"] == shipped["agent"]["hidden"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("zoo.py", "zoo.py takes list, or show and a name; got nothing"),
        ("zoo.py show nobody", "shipped: fresh, other, single, tiny"),
        ("reproduce.py nobody", "shipped: fresh, other, single, tiny"),
        ("reproduce.py fresh --only evaluation", "fresh has no evaluation.json to compare with"),
        ("reproduce.py fresh", "fresh has no evaluation.json to compare with"),
        ("reproduce.py other", "other was evaluated with other settings than their name stands for now"),
        ("results.py zoo/other/evaluation.json", "was measured with other settings than unguarded has now"),
        ("train.py --config tiny.yaml --agent.heads rotation --run heads", "scripts/fit_head.py --heads adds them"),
        ("reproduce.py tiny --only dreams", "invalid choice"),
        ("reproduce.py tiny --episodes 0", "episodes must be at least 1, got 0"),
        ("ship.py zoo/tiny tiny command", "zoo/tiny is no folder of a training run"),
        ("ship.py runs/unfinished tiny command", "not trained to its end: python scripts/train.py --resume"),
        ("ship.py runs/stopped tiny command", "not trained to its end: python scripts/train.py --resume"),
        ("ship.py runs/tiny '' command", "an agent's name has letters, digits and underscores, got ''"),
        ("ship.py runs/tiny . command", "an agent's name has letters, digits and underscores, got '.'"),
        ("ship.py runs/tiny a/b command", "an agent's name has letters, digits and underscores, got 'a/b'"),
        ("reproduce.py tiny --folder runs/others --only training", "holds a run of other settings than"),
    ],
)
def test_bad_input_gets_one_line(folder, command, message):
    before = (folder / "zoo" / "tiny" / "model.safetensors").read_bytes()
    result = call(command, folder)
    assert (folder / "zoo" / "tiny" / "model.safetensors").read_bytes() == before
    assert (folder / "zoo" / "tiny" / "evaluation.json").is_file()
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def in_this_process(monkeypatch, folder):
    """Commands that a command starts run here too, in the zoo of this test."""

    def run(command):
        result = call(" ".join(command), folder)
        assert result.returncode == 0, result.stderr

    monkeypatch.setattr(reproduce, "call", run)


@pytest.mark.slow
def test_an_agent_made_again_is_the_same_on_the_same_machine(folder, monkeypatch):
    in_this_process(monkeypatch, folder)
    result = call("reproduce.py tiny", folder)
    assert result.returncode == 0, result.stderr
    made, shipped = ((folder / place / "metrics.jsonl").read_text() for place in ("runs/reproduced/tiny", "zoo/tiny"))
    assert made == shipped
    assert [line.split()[0] for line in result.stdout.splitlines()[-2:]] == ["none", "color_hard"]
    again = call("reproduce.py tiny --only training", folder)  # goes on with a run that is there: nothing is left
    assert again.returncode == 0, again.stderr


def test_a_shipped_agent_evaluated_again_has_the_same_returns(folder, monkeypatch):
    in_this_process(monkeypatch, folder)
    assert call("reproduce.py tiny --only evaluation --workers 1", folder).returncode == 0
    before, after = (
        json.loads((folder / path).read_text())["shifts"]
        for path in ("zoo/tiny/evaluation.json", "runs/reproduced/tiny.json")
    )
    assert after["color_hard"]["comparison"] == before["color_hard"]["comparison"]


def test_fewer_episodes_are_compared_with_the_same_ones_as_shipped(folder, monkeypatch):
    in_this_process(monkeypatch, folder)
    result = call("reproduce.py tiny --only evaluation --episodes 1 --workers 1", folder)
    for line in result.stdout.splitlines()[-2:]:
        shipped, made = re.findall(r"-?\d+ > -?\d+", line)
        assert shipped == made


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [True, False])
def test_a_script_that_is_called_has_the_time_to_save_when_it_is_interrupted(tmp_path, monkeypatch, whole_group):
    """Ctrl-C reaches a whole group, kill one process; a second signal would end what is called at once."""
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "calling.py").write_text(CALLING.format(scripts=str(ROOT / "scripts"), folder=str(tmp_path)))
    process = subprocess.Popen([sys.executable, "calling.py"], cwd=tmp_path, process_group=0)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    if whole_group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    assert process.wait(60) == 130
    assert (tmp_path / "saved").exists()


SLOW = """
import pathlib, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    pathlib.Path("started").touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1.5)
    pathlib.Path("saved").touch()
    sys.exit(130)
"""
CALLING = """
import signal, sys
sys.path.insert(0, {scripts!r})
import cli, pathlib, reproduce
signal.signal(signal.SIGINT, signal.default_int_handler)
reproduce.SCRIPTS = pathlib.Path({folder!r})
cli.run(lambda: reproduce.call(["slow.py"]))
"""


def test_settings_are_screened_beside_controls_on_the_same_episodes(folder):
    (folder / "candidates").mkdir()
    guards = "guards: {gate: null, gate_features: null, gate_colors: null, trial: null, action_jump: null}"
    (folder / "candidates" / "color.yaml").write_text(guards)
    (folder / "candidates" / "shuffled.yaml").write_text(f"objectives: [shuffled_actions]\n{guards}")
    command = (
        "screen.py --checkpoints tiny --candidates candidates --shift color_hard --episodes 2 --no-paper --workers 1"
    )
    result = call(f"{command} --output screening.json", folder)
    assert result.returncode == 0, result.stderr
    rows = json.loads((folder / "screening.json").read_text())["rows"]
    assert {row["candidate"] for row in rows} == {"matched_colors", "color", "shuffled"}
    assert len({row["frozen"]["mean"] for row in rows}) == 1
    assert "| matched_colors |" in result.stdout
    without = call(f"{command} --no-matched --only color --output screening.json", folder)
    assert "matched_colors" not in without.stdout
    rows = json.loads((folder / "screening.json").read_text())["rows"]
    assert {row["candidate"] for row in rows} == {"color"}


def test_an_interrupted_screening_keeps_the_shifts_that_all_candidates_met(folder, monkeypatch):
    import screen

    def interrupted(arms, workers):
        played = screen_arms(arms, workers)
        for _ in range(5):  # all three of the first shift, two of the second
            yield next(played)
        raise KeyboardInterrupt

    screen_arms = screen.run_arms
    monkeypatch.setattr(screen, "run_arms", interrupted)
    (folder / "one").mkdir()
    (folder / "one" / "color.yaml").write_text(
        "guards: {gate: null, gate_features: null, gate_colors: null, trial: null, action_jump: null}"
    )
    command = (
        "screen.py --checkpoints tiny --candidates one --shift none color_hard --episodes 1 --no-paper --workers 1"
    )
    result = call(f"{command} --output interrupted.json", folder)
    assert result.returncode == 130
    rows = json.loads((folder / "interrupted.partial.json").read_text())["rows"]
    assert not (folder / "interrupted.json").exists()
    assert {row["shift"] for row in rows} == {"none"}
    assert {row["candidate"] for row in rows} == {"matched_colors", "color"}
    # The same command goes on; what was over is not run again.
    monkeypatch.setattr(screen, "run_arms", screen_arms)
    whole = json.loads((folder / "interrupted.partial.json").read_text())
    marked = [{**row, "won": 77} for row in whole["rows"]]
    (folder / "interrupted.partial.json").write_text(json.dumps({**whole, "rows": marked}))
    again = call(f"{command} --output interrupted.json", folder)
    assert again.returncode == 0, again.stderr
    assert "has 1 of 2 agents and shifts already" in again.stderr
    rows = json.loads((folder / "interrupted.json").read_text())["rows"]
    assert [row["shift"] for row in rows] == ["none"] * 2 + ["color_hard"] * 2
    assert [row["won"] == 77 for row in rows] == [True] * 2 + [False] * 2
    assert not (folder / "interrupted.partial.json").exists()


@pytest.mark.slow
def test_a_screening_of_other_settings_does_not_go_on_from_what_is_there(folder, monkeypatch):
    import screen

    (folder / "two").mkdir()
    (folder / "two" / "color.yaml").write_text("guards: {trial: null, action_jump: null}")
    command = (
        "screen.py --checkpoints tiny --candidates two --shift none color_hard --episodes 1 --no-paper --workers 1"
    )
    screen_arms = screen.run_arms

    def interrupted(arms, workers):
        played = screen_arms(arms, workers)
        for _ in range(3):
            yield next(played)
        raise KeyboardInterrupt

    monkeypatch.setattr(screen, "run_arms", interrupted)
    assert call(f"{command} --output changed.json", folder).returncode == 130
    monkeypatch.setattr(screen, "run_arms", screen_arms)
    (folder / "two" / "color.yaml").write_text("guards: {trial: null, action_jump: null, drift: 0.5}")
    again = call(f"{command} --output changed.json", folder)
    assert again.returncode == 2
    assert "changed.partial.json holds an interrupted screening of other settings (candidates)" in again.stderr
    (folder / "changed.partial.json").unlink()
    assert call(f"{command} --output changed.json", folder).returncode == 0


@pytest.mark.slow
def test_a_run_that_cannot_be_made_leaves_no_folder_and_one_with_pictures_is_resumed(folder):
    overlaid = TINY.replace(
        "batch_size: 4}", "batch_size: 4, augmentations: [random_overlay]}\n  overlay_pictures: pictures"
    )
    (folder / "overlaid.yaml").write_text(overlaid)
    command = "train.py --config overlaid.yaml --run runs/overlaid"
    refused = call(command, folder)
    assert refused.returncode == 2
    assert "no pictures" in refused.stderr
    assert not (folder / "runs" / "overlaid").exists()
    (folder / "pictures").mkdir()
    iio.imwrite(folder / "pictures" / "a.png", np.full((9, 7, 3), 200, np.uint8))
    assert call(command, folder).returncode == 0
    assert call("train.py --resume runs/overlaid", folder).returncode == 0
