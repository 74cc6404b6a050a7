import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pad.tracking import Tracker, TrackingConfig, default_wandb_mode

OFF = TrackingConfig(wandb="disabled")


def test_every_line_is_on_disk_at_once(tmp_path):
    with Tracker(tmp_path, OFF, "run", "group", {}) as tracker:
        tracker.log({"loss": 1.5}, 3)
        tracker.log({"loss": 0.5, "episode": 2.0}, 7)
        lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 3, "loss": 1.5}, {"step": 7, "loss": 0.5, "episode": 2.0}]


def test_a_resumed_run_forgets_what_came_after_its_checkpoint(tmp_path):
    with Tracker(tmp_path, OFF, "run", "group", {}) as tracker:
        tracker.log({"loss": 1.0}, 1)
        position = tracker.position()
        tracker.log({"loss": 2.0}, 2)
    with Tracker(tmp_path, OFF, "run", "group", {}) as tracker:
        tracker.truncate(position)
        tracker.log({"loss": 3.0}, 2)
    steps = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1.0, 3.0]


def test_a_run_that_is_not_tracked_never_imports_wandb(tmp_path):
    code = (
        "import sys; from pathlib import Path; from pad.tracking import Tracker, TrackingConfig\n"
        f"Tracker(Path({str(tmp_path)!r}), TrackingConfig(wandb='disabled'), 'n', 'g', {{}}).close()\n"
        "assert 'wandb' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("environment", "mode"),
    [({}, "offline"), ({"WANDB_API_KEY": "x"}, "online"), ({"WANDB_MODE": "disabled"}, "disabled")],
)
def test_without_a_key_runs_stay_offline_unless_told_otherwise(environment, mode, monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_wandb_mode() == mode


class Dying:
    def log(self, *_: object, **__: object) -> None:
        raise ConnectionResetError("Connection lost")

    finish = log


@pytest.mark.parametrize("when", ["log", "image", "table", "close"])
def test_that_weights_and_biases_dies_ends_no_training(tmp_path, when, capsys):
    with Tracker(tmp_path, OFF, "run", "group", {}) as tracker:
        tracker._wandb = Dying()
        if when == "image":
            tracker.log_image("picture", tmp_path / "nowhere.png", "", 1)
        if when == "table":
            tracker.log_table("table", ["a"], [[1]], 1)
        if when != "close":
            tracker.log({"loss": 1.0}, 1)
            tracker.log({"loss": 2.0}, 2)
    if when != "close":
        assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    assert capsys.readouterr().err.count("Weights & Biases is off") == 1


@pytest.mark.slow
def test_an_offline_run_read_back_says_what_the_jsonl_says(tmp_path):
    with Tracker(tmp_path, TrackingConfig(wandb="offline"), "name", "group", {"seed": 3}) as tracker:
        for step in range(1, 6):
            tracker.log({"loss": 1 / step, "return": float(10 * step)}, step)
    (stored,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    result = subprocess.run(
        [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(stored)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    records = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    assert (run["display_name"], run["run_group"], run["project"]) == ("name", "group", "pad")
    assert run["config"]["update"]["seed"] == 3
    history = [record["history"] for record in records if record["type"] == "history"]
    found = [{"step": row["step"]["num"], **{n: row["item"][n] for n in ("loss", "return")}} for row in history]
    assert found == [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
