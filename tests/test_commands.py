"""The commands as a user types them: what they print, what they refuse, and what they leave behind."""

import ast
import contextlib
import dataclasses
import importlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from envs import shifts
from pad.checkpoint import ZOO, Checkpoint, load_checkpoint, save_checkpoint

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT.parent / "shared" / "data"
TINY = """
env: {task: cartpole_swingup, episode_length: 80}
agent:
  encoder: {strides: [3, 2, 2], shared_layers: 2, filters: 4, projection: 8}
  hidden: 8
training:
  recipe: clone
  expert: {steps: 60, random_steps: 20, hidden: 8, batch_size: 8}
  clone: {episodes: 6, updates: 40, expert_episodes: 2, batch_size: 4}
  evaluations: 2
  evaluation_episodes: 1
  save_seconds: 0
"""


def run(command: str, cwd: Path) -> subprocess.CompletedProcess:
    """A command in a process of its own, as a user starts it."""
    script, *arguments = shlex.split(command)
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), *arguments],
        cwd=cwd,
        env={**os.environ, "WANDB_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def call(command: str, cwd: Path) -> subprocess.CompletedProcess:
    """The same inside this process, which saves the seconds that imports take."""
    script, *arguments = shlex.split(command)
    out, err, before = io.StringIO(), io.StringIO(), (sys.argv, Path.cwd(), signal.getsignal(signal.SIGTERM))
    try:
        os.chdir(cwd)
        sys.argv = [str(ROOT / "scripts" / script), *arguments]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            importlib.import_module("cli").run(importlib.import_module(Path(script).stem).main)
    except SystemExit as error:
        return subprocess.CompletedProcess(arguments, int(error.code or 0), out.getvalue(), err.getvalue())
    finally:
        sys.argv = before[0]
        os.chdir(before[1])
        signal.signal(signal.SIGTERM, before[2])
    raise AssertionError("a command ends with an exit code")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a tiny trained run in runs/tiny."""
    here = tmp_path_factory.mktemp("work")
    (here / "tiny.yaml").write_text(TINY)
    result = run("train.py --config tiny.yaml --run runs/tiny", here)
    assert result.returncode == 0, result.stderr
    return here


def test_training_leaves_a_checkpoint_its_settings_metrics_and_videos(folder):
    here = folder / "runs" / "tiny"
    assert yaml.safe_load((here / "config.yaml").read_text())["training"]["recipe"] == "clone"
    assert (here / "checkpoint" / "model.safetensors").is_file()
    assert len(list((here / "videos").glob("*.mp4"))) == 2
    names = {name for line in (here / "metrics.jsonl").read_text().splitlines() for name in json.loads(line)}
    assert {"expert/episode_return", "clone/cloning_loss", "clone/evaluation_return_mean"} <= names


def test_training_calibrates_the_gate_and_so_does_the_command_for_it(folder):
    shutil.copytree(folder / "runs" / "tiny" / "checkpoint", folder / "again")
    trained = load_checkpoint(folder / "again").agent.calibration
    config = yaml.safe_load((folder / "again" / "config.yaml").read_text())
    (folder / "again" / "config.yaml").write_text(yaml.safe_dump({**config, "calibration": None}))
    refused = call("eval.py --checkpoint again --adapt --episodes 1", folder)
    assert refused.returncode == 2
    assert "scripts/calibrate.py CHECKPOINT measures it" in refused.stderr
    assert call("calibrate.py again", folder).returncode == 0
    assert load_checkpoint(folder / "again").agent.calibration == trained


def test_the_gate_tells_how_unusual_a_policy_finds_what_it_sees(folder):
    result = call("gate.py --checkpoints runs/tiny --shift none color_hard --episodes 1 --output gates.json", folder)
    assert result.returncode == 0, result.stderr
    calm, shifted = json.loads((folder / "gates.json").read_text())["gates"]
    assert (calm["scene"], shifted["scene"]) == ("none", "color_hard")
    assert calm["parts"]["colors"]["beyond"] == 0
    assert shifted["parts"]["colors"]["beyond"] == 1
    assert shifted["parts"]["colors"]["smallest"] > 16 > calm["parts"]["colors"]["largest"]
    assert shifted["open"] <= shifted["parts"]["features"]["beyond"]
    assert re.match(r"runs/tiny, none: open at 0.0% of \d+ decisions; features ", result.stdout)
    table = importlib.import_module("gate").format_gates([calm, shifted]).splitlines()
    assert len(table) == 4
    assert table[-1].startswith(f"| color_hard | 1 | {shifted['decisions']} | ")


@pytest.mark.slow
@pytest.mark.parametrize("agent", sorted(path.parent.name for path in ZOO.glob("*/model.safetensors")))
def test_a_shipped_agent_learns_nothing_in_training_and_colours_tell_it_every_shift(agent, tmp_path):
    shifts = ["none", "color_easy", "color_hard", "video_easy", "video_hard"]
    if agent.startswith("reacher"):
        shifts.remove("video_easy")  # its camera sees no sky
    command = f"gate.py --checkpoints {agent} --shift {' '.join(shifts)} --episodes 1 --output gates.json"
    assert call(command, tmp_path).returncode == 0
    calm, *shifted = json.loads((tmp_path / "gates.json").read_text())["gates"]
    assert calm["open"] == 0
    assert all(row["parts"]["colors"]["beyond"] == 1 for row in shifted)


def test_an_evaluation_compares_both_arms_and_writes_what_was_asked_for(folder):
    result = run(
        "eval.py --checkpoint runs/tiny --adapt --shift color_hard --episodes 3 --batch-size 2 --gate 0.01 "
        "--output out/result.json --figure out/figure.png --video out",
        folder,
    )
    assert result.returncode == 0, result.stderr
    assert re.search(r"color_hard +-?\d+\.\d+ \[-?\d+\.\d+, -?\d+\.\d+\] +-?\d+\.\d+ \[", result.stdout)
    assert "adaptation moves encoder.color_matrix, encoder.color_offset" in result.stderr
    record = json.loads((folder / "out" / "result.json").read_text())
    assert record["settings"]["adapter"]["batch_size"] == 2
    assert record["frozen"]["seeds"] == record["adapted"]["seeds"]
    assert len(record["adapted"]["returns"]) == 3
    assert record["adapted"]["steps_per_second"] > 0
    assert sum(record["adapted"]["updates"]) > 0
    assert sum(record["frozen"]["updates"]) == 0
    assert (folder / "out" / "figure.png").stat().st_size > 1000
    assert (folder / "out" / "color_hard.mp4").stat().st_size > 1000


def test_shifts_that_act_together_are_evaluated_and_filmed_under_their_one_spelling(folder):
    command = "eval.py --checkpoint runs/tiny --shift 'noise+ color_hard' 'none@0, camera:0.4@5' --episodes 1"
    result = call(f"{command} --workers 1 --video films --output together.json", folder)
    assert result.returncode == 0, result.stderr
    record = json.loads((folder / "together.json").read_text())
    assert list(record["shifts"]) == ["color_hard + noise", "none@0, camera:0.4@5"]
    assert {path.name for path in (folder / "films").iterdir()} == {"color_hard_+_noise.mp4", "none_0_camera_0.4_5.mp4"}


def test_an_interrupted_evaluation_keeps_the_episodes_that_both_policies_met(folder, monkeypatch):
    played = importlib.import_module("eval").run_arms

    def interrupted(arms, workers):
        episodes = played(arms, workers)
        for _ in range(7):  # both arms of the first shift, frozen and one adapting of the second
            yield next(episodes)
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("eval"), "run_arms", interrupted)
    command = (
        "eval.py --checkpoint runs/tiny --adapt --null --shift none color_easy color_hard --episodes 2 --workers 1"
    )
    (folder / "interrupted.json").write_text("an older one")
    result = call(f"{command} --batch-size 2 --output interrupted.json", folder)
    assert result.returncode == 130
    assert "cut short: what is over of none color_easy" in result.stderr
    assert (folder / "interrupted.json").read_text() == "an older one"
    record = json.loads((folder / "interrupted.partial.json").read_text())
    assert {shift: len(cell["adapted"]["returns"]) for shift, cell in record["shifts"].items()} == {
        "none": 2,
        "color_easy": 1,
    }
    assert all(len(cell["frozen"]["seeds"]) == len(cell["adapted"]["seeds"]) for cell in record["shifts"].values())
    refused = call("results.py interrupted.partial.json", folder)
    assert refused.returncode == 2
    assert "interrupted.partial.json was interrupted" in refused.stderr


def test_an_evaluation_interrupted_before_both_policies_met_an_episode_writes_nothing(folder, monkeypatch):
    def interrupted(arms, workers):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(importlib.import_module("eval"), "run_arms", interrupted)
    result = call("eval.py --checkpoint runs/tiny --adapt --shift none --episodes 2 --output nothing.json", folder)
    assert result.returncode == 130
    assert "no episode was met by every policy, and nothing.json was not written" in result.stderr
    assert not list(folder.glob("nothing*"))


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_workers(folder):
    for workers in (1, 2):
        command = f"eval.py --checkpoint runs/tiny --adapt --shift video_hard --episodes 3 --workers {workers}"
        result = call(f"{command} --batch-size 2 --output workers{workers}.json", folder)
        assert result.returncode == 0, result.stderr
    one, two = (json.loads((folder / f"workers{n}.json").read_text()) for n in (1, 2))
    assert one["adapted"]["returns"] == two["adapted"]["returns"]
    assert one["frozen"]["returns"] == two["frozen"]["returns"]


def test_without_adapt_the_frozen_policy_runs_alone(folder):
    command = "eval.py --checkpoint runs/tiny --shift none color_easy --episodes 2 --workers 1 --output alone.json"
    result = call(command, folder)
    assert result.returncode == 0, result.stderr
    record = json.loads((folder / "alone.json").read_text())
    assert set(record["shifts"]) == {"none", "color_easy"}
    assert "adapted" not in record["shifts"]["none"]


def test_every_named_and_filed_adaptation_runs(folder):
    (folder / "mine.yaml").write_text("moves: convolutions\nlayers: 1\noptimizer: sgd\nlearning_rate: 1e-2\n")
    for adaptation in ("default", "paper", "mine.yaml"):
        command = f"eval.py --checkpoint runs/tiny --adapt --adaptation {adaptation} --episodes 1 --batch-size 2"
        result = call(f"{command} --output adaptation.json --workers 1", folder)
        assert result.returncode == 0, result.stderr
    adapter = json.loads((folder / "adaptation.json").read_text())["settings"]["adapter"]
    assert (adapter["layers"], adapter["learning_rate"], adapter["batch_size"]) == (1, 0.01, 2)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published files are not here")
@pytest.mark.parametrize("shift", ["color_easy", "video_easy", "video_hard"])
def test_the_published_files_can_be_evaluated_on(folder, shift):
    command = f"eval.py --checkpoint runs/tiny --shift {shift} --shift-data {PUBLISHED} --episodes 1"
    result = call(f"{command} --quality standard --workers 1", folder)
    assert result.returncode == 0, result.stderr
    assert shift in result.stdout


def test_the_benchmark_measures_ours_against_the_reference_and_writes_it_down(tmp_path):
    result = call("bench.py --parts replay acting --seconds 0.01 --output bench.json", tmp_path)
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert [row["name"].split()[0] for row in rows] == ["replay:", "act,", "act,"]
    for row in rows:
        assert row["reference_ms"] > 0
        assert row["ours_ms"] > 0
        assert row["repeats"] >= 3
        assert row["spread"][0] <= row["ratio"] <= row["spread"][1]
        assert row["name"] in result.stdout


@pytest.mark.slow
def test_every_part_of_the_benchmark_runs(tmp_path):
    result = call("bench.py --seconds 0.01", tmp_path)
    assert result.returncode == 0, result.stderr
    for name in ("adaptation step, paper network", "training: two updates, cpu network", "video_easy, fast", "worker"):
        assert name in result.stdout


BAD = {
    "eval.py --checkpoint runs/tiny --adaptation light": "--adaptation and the flags that change its settings",
    "eval.py --checkpoint runs/tiny --learning-rate 0.5": "go with --adapt",
    "bench.py --parts flying": "flying",
    "calibrate.py nowhere": "no checkpoint at 'nowhere'",
    "calibrate.py": "calibrate.py takes CHECKPOINT, got 0 arguments",
    "ship.py runs/tiny": "ship.py takes RUN NAME COMMAND, got 1 argument: ship.py --help says",
    "calibrate.py headless": "without a self-supervised head",
    "bench.py --seconds 0": "must be positive",
    "eval.py --checkpoint nowhere": "no checkpoint at 'nowhere'",
    "gate.py --checkpoints runs/tiny --adaptation unguarded": "these settings have no gate",
    "gate.py --checkpoints headless": "self-supervised head",
    "gate.py --checkpoints runs/tiny --env Pendulum-v1 --shift none": "a shift is of our environments",
    "gate.py --checkpoints runs/tiny --seed -1": "the seed at least 0",
    "eval.py --checkpoint runs/tiny --shift fog": "unknown shift 'fog'; known: none",
    "eval.py --checkpoint runs/tiny --episodes 0": "at least 1",
    "eval.py --checkpoint runs/tiny --episodes many": "error: --episodes: invalid literal for int() with base 10: 'm",
    "eval.py --checkpoint runs/tiny --seed -3": "a seed must be at least 0, got -3",
    "eval.py --checkpoint runs/tiny --adaptation best": "known: default, light, unguarded, paper",
    "eval.py --checkpoint runs/tiny --adaptation no.yaml": "no config file no.yaml",
    "eval.py --checkpoint runs/tiny --adapt --learning-rate -1": "learning_rate must be positive, got -1",
    "eval.py --checkpoint runs/tiny --shift color_hard --shift-data empty": "no color_hard.pt in empty",
    "eval.py --checkpoint runs/tiny --shift video_easy --shift-data empty": "no video_easy folder with videos in empty",
    "eval.py --checkpoint runs/tiny --shift video_easy --shift-data broken": "broken/a.mp4 cannot be read as a video",
    "eval.py --checkpoint runs/tiny --device cuda:9": "device 'cuda:9' is not usable; known: cpu",
    "eval.py --checkpoint runs/tiny --shfit none": "Unrecognized option",
    "eval.py --checkpoint cut": "does not hold this agent's weights",
    "eval.py --checkpoint newer": "has format 99",
    "eval.py --checkpoint headless --adapt": "without a self-supervised head",
    "train.py --config tiny.yaml --run runs/tiny": "runs/tiny already holds a run",
    "train.py --config nowhere.yaml": "no config file nowhere.yaml",
    "train.py --config typo.yaml": "typo.yaml: unknown key 'agent.hiden'; did you mean 'hidden'?",
    "train.py --config value.yaml": "training.steps",
    "train.py --env.task cartpole_swing": "unknown task 'cartpole_swing'",
    "train.py --training.recipe ppo": "ppo",
    "train.py --env.camera 9 --run runs/camera": "unknown camera 9",
    "train.py --resume nowhere": "no run at 'nowhere'",
    "train.py --resume runs/tiny --seed 5": "a resumed run keeps its settings",
    "results.py nowhere.json": "no evaluation file nowhere.json",
    "screen.py --candidates nowhere": "no folder nowhere",
}


@pytest.fixture(scope="module")
def traps(folder) -> Path:
    """The run's folder with everything around it that bad commands name."""
    (folder / "empty").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "a.mp4").write_bytes(b"no film")
    (folder / "typo.yaml").write_text("agent: {hiden: 3}")
    (folder / "value.yaml").write_text("training: {steps: soon}")
    checkpoint = folder / "runs" / "tiny" / "checkpoint"
    for name in ("cut", "newer"):
        shutil.copytree(checkpoint, folder / name)
    (folder / "cut" / "model.safetensors").write_bytes(b"x" * 100)
    config = yaml.safe_load((folder / "newer" / "config.yaml").read_text())
    (folder / "newer" / "config.yaml").write_text(yaml.safe_dump({**config, "format": 99}))

    agent = load_checkpoint(checkpoint).agent
    agent.inverse_dynamics = None
    agent.config = dataclasses.replace(agent.config, self_supervised=False)
    save_checkpoint(folder / "headless", Checkpoint(agent, config["env"]))
    return folder


@pytest.mark.parametrize("command", BAD)
def test_bad_input_gets_one_line_and_exit_code_2_and_changes_nothing(traps, command):
    def state() -> dict[str, float]:
        return {str(path): path.stat().st_mtime for path in traps.rglob("*") if "eval_" not in str(path)}

    before = state()
    result = call(command, traps)
    assert result.returncode == 2, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert BAD[command] in line
    assert "Traceback" not in result.stderr
    assert state() == before


def test_help_teaches():
    for script in ("calibrate.py", "ship.py", "overview.py"):
        result = call(f"{script} --help", ROOT)
        assert result.returncode == 0
        assert f"python scripts/{script}" in result.stdout
    for script in ("train.py", "eval.py", "screen.py"):
        result = call(f"{script} --help", ROOT)
        assert result.returncode == 0
        assert "--seed" in result.stdout
    assert "--resume RUN" in call("train.py --help", ROOT).stdout
    assert "Settings of the adapting policy" in call("eval.py --help", ROOT).stdout


def checkpoint_weights(run_folder: Path) -> bytes:
    return (run_folder / "checkpoint" / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_killed_run_that_is_resumed_ends_where_an_unbroken_one_did(folder):
    """kill -9 at several moments, in either phase."""
    command = [sys.executable, str(ROOT / "scripts" / "train.py")]
    environment = {**os.environ, "WANDB_MODE": "disabled"}
    killed = folder / "runs" / "killed"
    process = subprocess.Popen([*command, "--config", "tiny.yaml", "--run", str(killed)], cwd=folder, env=environment)
    for _ in range(6):
        start = killed / "metrics.jsonl"
        seen = start.read_text().count("\n") if start.exists() else 0
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if start.exists() and start.read_text().count("\n") >= seen + 3:
                break
            time.sleep(0.02)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = subprocess.Popen([*command, "--resume", str(killed)], cwd=folder, env=environment)
    assert process.wait(timeout=120) == 0
    assert checkpoint_weights(killed) == checkpoint_weights(folder / "runs" / "tiny")
    assert (killed / "metrics.jsonl").read_text() == (folder / "runs" / "tiny" / "metrics.jsonl").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.0, 1.0, 8.0])
def test_a_killed_run_leaves_no_process_behind(folder, wait):
    (folder / "endless.yaml").write_text(TINY.replace("episodes: 6, updates: 40", "episodes: 9000, updates: 99000"))
    command = [
        sys.executable,
        str(ROOT / "scripts" / "train.py"),
        "--config",
        "endless.yaml",
        "--run",
        f"runs/endless{wait}",
    ]
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, "WANDB_MODE": "disabled"})
    deadline = time.monotonic() + 90
    try:
        while not (recorders := [int(child) for child in descendants(process.pid)]):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(wait)
        recorders = [int(child) for child in descendants(process.pid)]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + 20
    while any(is_alive(pid) for pid in recorders) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [pid for pid in recorders if is_alive(pid)]


def descendants(pid: int) -> list[str]:
    """Processes that a process has started, and those that they have."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return children + [further for child in children for further in descendants(int(child))]


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_saves_and_says_how_to_go_on(folder, number):
    stopped = folder / "runs" / f"stopped_{number}"
    (folder / "long.yaml").write_text(TINY.replace("steps: 60", "steps: 100000"))
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "train.py"), "--config", "long.yaml", "--run", str(stopped)],
        cwd=folder,
        env={**os.environ, "WANDB_MODE": "disabled"},
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = stopped / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") > 5):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"--resume {stopped}" in errors
    assert (stopped / "checkpoint" / "train_state.pt").is_file()


def readme_commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip() and line[0] != "#"]


def test_every_command_of_the_readme_names_things_that_exist():
    commands = readme_commands()
    assert "bash scripts/demo.sh" in commands
    assert "bash scripts/test.sh" in commands
    for command in commands:
        for word in shlex.split(command):
            if re.match(r"(scripts|configs)/", word):
                assert (ROOT / word).exists(), command


DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_the_documents_import_is_there(path):
    for code in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
        for statement in ast.walk(ast.parse(code)):
            if isinstance(statement, ast.ImportFrom) and statement.module.split(".")[0] in ("pad", "envs"):
                module = importlib.import_module(statement.module)
                assert all(hasattr(module, name.name) for name in statement.names), ast.unparse(statement)


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.sh")), ids=lambda path: path.name)
def test_a_shell_script_is_whole(path):
    checked = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.slow
def test_the_loop_in_the_readme_runs(monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    namespace: dict = {}
    exec(code, namespace)
    assert namespace["truncated"]


def test_the_shift_in_the_documents_is_known_to_commands_as_they_say(tmp_path):
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "benchmark.md").read_text(), re.DOTALL)[0]
    (tmp_path / "my_shifts.py").write_text(code)
    listed = subprocess.run(
        [sys.executable, ROOT / "scripts" / "shifts.py", "list"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}", "PAD_SHIFTS": "my_shifts"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert listed.returncode == 0, listed.stderr
    assert "Everything fades towards white." in listed.stdout


def test_the_shift_in_the_documents_is_registered_and_seen():
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "benchmark.md").read_text(), re.DOTALL)[0]
    namespace: dict = {}
    try:
        exec(code, namespace)
        env = namespace["env"]
        obs, _ = env.reset(seed=0)
        for _ in range(250):
            obs, *_, truncated, _ = env.step(env.action_space.sample())
        assert truncated
        assert obs.min() > 180  # fog
        env.close()
        namespace["yours"].reset(seed=0)
    finally:
        shifts._KINDS.pop("fog", None)


def test_the_tables_in_the_documents_say_what_the_files_say():
    written = [path for where in ("pad/zoo/*/evaluation.json", "results/*.json", "results/benchmark/*")
               for path in sorted(ROOT.glob(where))]  # fmt: skip
    files = [str(path) for path in written]
    result = call(f"results.py --check {' '.join(files)}", ROOT)
    assert files
    assert result.returncode == 0, result.stderr


def test_evaluations_of_other_settings_alone_never_empty_the_table_of_the_readme(tmp_path):
    (tmp_path / "README.md").write_text((ROOT / "README.md").read_text())
    result = call(f"results.py {ROOT / 'results' / 'walker_walk_paper.json'}", tmp_path)
    assert result.returncode == 2
    assert "none of these evaluations is of the default setting" in result.stderr
    assert (tmp_path / "README.md").read_text() == (ROOT / "README.md").read_text()


def test_a_soak_that_was_broken_off_is_no_million_steps(tmp_path):
    record = json.loads((ROOT / "results" / "soak.json").read_text())
    (tmp_path / "soak.json").write_text(json.dumps({**record, "points": record["points"][:5]}))
    result = call("results.py soak.json", tmp_path)
    assert result.returncode == 2
    assert "was broken off at 5 of its 100 points" in result.stderr


def test_a_file_that_cannot_be_written_leaves_nothing_beside_it(tmp_path):
    from cli import write_text

    (tmp_path / "out.json").mkdir()
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "out.json", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize("lost", ["<!-- results: written by scripts/results.py -->", "<!-- end of results -->"])
def test_a_document_that_lost_a_marker_stays_as_it_is(tmp_path, lost):
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/results.md"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    # Without this end the next one in the document would be taken for it, and what stands between lost.
    damaged = (ROOT / "README.md").read_text().replace(lost, "", 1)
    (tmp_path / "README.md").write_text(damaged)
    evaluation = ROOT / "pad" / "zoo" / "cartpole_balance" / "evaluation.json"
    shutil.copy(evaluation, tmp_path / "evaluation.json")
    result = call("results.py evaluation.json", tmp_path)
    assert result.returncode == 2
    assert "README.md has no markers" in result.stderr
    assert (tmp_path / "README.md").read_text() == damaged


def test_evaluations_of_another_kind_do_not_come_into_the_tables(tmp_path):
    source = ROOT / "pad" / "zoo" / "cartpole_balance" / "evaluation.json"
    record = json.loads(source.read_text())
    (tmp_path / "again.json").write_text(json.dumps(record))
    result = call(f"results.py {source} again.json", tmp_path)
    assert "several of these files are evaluations of cartpole_balance" in result.stderr
    record["settings"] |= {"checkpoint": "another", "shift_split": "validation"}
    (tmp_path / "validation.json").write_text(json.dumps(record))
    result = call(f"results.py {source} validation.json", tmp_path)
    assert result.returncode == 2
    assert "shift_split is test and validation" in result.stderr


def test_both_arms_are_the_same_weights_though_a_run_goes_on_meanwhile(folder, monkeypatch):
    shutil.copytree(folder / "runs" / "tiny" / "checkpoint", folder / "going_on")
    episodes, plain = importlib.import_module("episodes"), importlib.import_module("episodes").make_policy

    def replaced(arm):
        policy = plain(arm)
        loaded = load_checkpoint(folder / "going_on")
        for parameter in loaded.agent.parameters():
            parameter.data += 0.5
        save_checkpoint(folder / "going_on", loaded)
        return policy

    monkeypatch.setattr(episodes, "make_policy", replaced)
    shut = "--adapt --gate-features 1e9 --episodes 2 --workers 1"
    result = call(f"eval.py --checkpoint going_on --shift none {shut} --output same.json", folder)
    assert result.returncode == 0, result.stderr
    record = json.loads((folder / "same.json").read_text())
    assert record["frozen"]["returns"] == record["adapted"]["returns"]
    (folder / "shut").mkdir()
    (folder / "shut" / "shut.yaml").write_text("guards: {gate_features: 1.0e+9}")
    screened = "screen.py --checkpoints going_on --shift none --candidates shut --episodes 2 --no-paper --no-matched"
    assert call(f"{screened} --workers 1 --output screened.json", folder).returncode == 0
    (row,) = json.loads((folder / "screened.json").read_text())["rows"]
    assert (row["checkpoint"], row["tied"]) == ("going_on", 2)


def test_a_figure_also_shows_the_control_that_is_moved_at_random(folder):
    command = (
        "eval.py --checkpoint runs/tiny --shift none --adapt --null --gate-features 0.001 --episodes 2 --workers 1"
    )
    result = call(f"{command} --figure null.svg", folder)
    assert result.returncode == 0, result.stderr
    assert "null" in (folder / "null.svg").read_text()


def test_a_film_of_a_long_timetable_has_a_name_that_a_disk_takes(folder):
    name = importlib.import_module("cli").file_name
    long = ", ".join(f"color_hard + camera:0.{number}@{number}" for number in range(1, 20))
    assert len(name(long)) <= 120
    assert name(long) != name(long + "0")
    assert name("color_hard + noise") == "color_hard_+_noise"


def test_more_episodes_than_were_evaluated_cannot_be_compared(folder):
    result = call("reproduce.py cartpole_swingup --only evaluation --episodes 999", folder)
    assert result.returncode == 2
    assert "evaluated on 50 episodes, to which 999 cannot be compared" in result.stderr


def test_the_wait_for_an_action_is_measured_from_the_arrival_of_what_it_answers(folder):
    result = call(
        "latency.py --checkpoint runs/tiny --shift none --policies frozen inline background --pairs 2 --ticks 8 "
        "--rate 200 --output latency.json",
        folder,
    )
    assert result.returncode == 0, result.stderr
    record = json.loads((folder / "latency.json").read_text())
    frozen, inline, background = record["blocks"][0]
    assert set(record["ratios"]["inline"]) == {"median", "p99", "answer_p99"}
    assert inline["answer_median"] > inline["median"]
    # What is learned inline is learned while the robot waits.
    assert inline["answer_median"] - inline["median"] > 2 * (frozen["answer_median"] - frozen["median"])
    assert background["updates_per_second"] > 0


@pytest.mark.slow
def test_the_picture_of_the_readme_is_drawn_from_a_shipped_evaluation(folder):
    evaluation = ROOT / "pad" / "zoo" / "cartpole_swingup" / "evaluation.json"
    result = call(f"overview.py {evaluation} overview.png", folder)
    assert result.returncode == 0, result.stderr
    assert (folder / "overview.png").stat().st_size > 10_000
