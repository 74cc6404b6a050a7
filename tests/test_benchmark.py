"""The benchmark's command: each cell once, whatever stops it, and the same results wherever it runs."""

import io
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cells
import pytest
import store
import torch
import under_way
import yaml
from dying import square_but_two
from test_commands import ROOT, call, run
from test_shifts import write_film

from pad.agent import Agent, AgentConfig
from pad.checkpoint import Checkpoint, save_checkpoint
from pad.encoder import EncoderConfig

TINY = """
name: tiny
checkpoints: [tiny]
shifts: [none, color_hard, "camera:0.4 + noise", "none@0, video_hard@5"]
policies: [frozen, quick.yaml]
episodes: 2
workers: 1
output: results
"""
QUICK = """
batch_size: 2
guards: {gate_features: null, gate_colors: null, trial: null, action_jump: null}
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A folder with an untrained agent and a small benchmark."""
    here = tmp_path_factory.mktemp("benchmark")
    torch.manual_seed(0)
    encoder = EncoderConfig(strides=(3, 2, 2), shared_layers=2, filters=4, projection=8)
    agent = Agent((9, 100, 100), 1, AgentConfig(encoder, hidden=8), critic=False)
    save_checkpoint(here / "tiny", Checkpoint(agent, {"task": "cartpole_swingup", "episode_length": 80}))
    (here / "tiny.yaml").write_text(TINY)
    (here / "quick.yaml").write_text(QUICK)
    return here


@pytest.fixture
def folder(prepared, tmp_path) -> Path:
    shutil.copytree(prepared, tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture(scope="module")
def finished(prepared, tmp_path_factory) -> Path:
    """The same after an unbroken run."""
    here = tmp_path_factory.mktemp("finished") / "work"
    shutil.copytree(prepared, here)
    result = call("benchmark.py --config tiny.yaml", here)
    assert result.returncode == 0, result.stderr
    return here


def results(folder: Path) -> dict[str, dict]:
    """What every cell came to, without what a clock measured."""
    records = [json.loads(path.read_text()) for path in (folder / "cells").glob("*.json")]
    return {record["id"]: {key: record[key] for key in ("cell", "episodes")} for record in records}


def test_every_cell_is_run_and_says_all_about_itself(finished):
    found = results(finished / "results")
    assert len(found) == 4 * 2
    for name, record in found.items():
        cell = record["cell"]
        assert len(record["episodes"]) == cell["episodes"] == 2
        assert [len(episode["rewards"]) for episode in record["episodes"]] == [10, 10]
        assert len(record["episodes"][0]["self_supervised_loss"]) == 10
        assert record["episodes"][0]["episode_return"] == pytest.approx(sum(record["episodes"][0]["rewards"]), abs=1e-4)
        assert (finished / "results" / "videos" / f"{name}.mp4").stat().st_size > 500
    text = json.loads(next((finished / "results" / "cells").glob("*.json")).read_text())
    assert {"seconds", "steps_per_second", "hardware", "versions", "command", "finished"} == set(text["measured"])
    assert "benchmark.py --config tiny.yaml" in text["measured"]["command"]


def test_the_arms_of_a_shift_meet_the_same_episodes(finished):
    seeds = [[episode["seed"] for episode in record["episodes"]] for record in results(finished / "results").values()]
    assert all(other == seeds[0] for other in seeds)
    adapting = [record for record in results(finished / "results").values() if record["cell"]["policy"] == "quick"]
    assert all(episode["updates"] > 0 for record in adapting for episode in record["episodes"])


def test_what_is_finished_is_not_done_again_and_more_can_be_added(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "work")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work" / "results" / "cells").iterdir()}
    again = call("benchmark.py --config tiny.yaml", tmp_path / "work")
    assert "8 cells, 8 of them finished before" in again.stderr
    more = call("benchmark.py --config tiny.yaml --seeds 0 1 --shifts none", tmp_path / "work")
    assert "4 cells, 2 of them finished before" in more.stderr
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work" / "results" / "cells").iterdir()}
    assert len(after) == 10
    assert all(after[name] == before[name] for name in before)


def test_other_weights_are_other_cells(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "work")
    config = tmp_path / "work" / "tiny" / "config.yaml"
    config.write_text(config.read_text() + "\n")
    assert "8 cells, 0 of them" in call("benchmark.py --config tiny.yaml --estimate", tmp_path / "work").stderr
    before = results(tmp_path / "work" / "results")
    assert call("benchmark.py --config tiny.yaml --shifts none", tmp_path / "work").returncode == 0
    after = results(tmp_path / "work" / "results")
    assert len(after) == len(before)  # the newer ones stand in the older ones' place
    assert len(list((tmp_path / "work" / "results" / "superseded").iterdir())) == 2 == len(set(before) - set(after))


def test_an_estimate_leaves_nothing_behind(folder):
    result = call("benchmark.py --config tiny.yaml --estimate", folder)
    assert result.returncode == 0
    assert "take at least" in result.stderr
    assert not (folder / "results").exists()


def test_a_cell_that_fails_is_recorded_and_does_not_stop_the_rest(folder, monkeypatch):
    original = cells.run_episode

    def fragile(env, policy, seed, record):
        if env.unwrapped.config.shift == "color_hard":
            raise RuntimeError("the lamp went out")
        return original(env, policy, seed, record)

    monkeypatch.setattr(cells, "run_episode", fragile)
    result = call("benchmark.py --config tiny.yaml", folder)
    assert result.returncode == 2
    assert (
        "2 cells failed, the first: tiny, color_hard, frozen, seed 0: RuntimeError: the lamp went out" in result.stderr
    )
    assert len(results(folder / "results")) == 6
    failed = [json.loads(path.read_text()) for path in (folder / "results" / "failed").iterdir()]
    assert {record["cell"]["shift"] for record in failed} == {"color_hard"}
    assert "Traceback" in failed[0]["traceback"]
    monkeypatch.setattr(cells, "run_episode", original)
    assert call("benchmark.py --config tiny.yaml", folder).returncode == 0
    assert len(results(folder / "results")) == 8
    assert not list((folder / "results" / "failed").iterdir())


def test_a_policy_that_fails_is_no_reason_not_to_run_the_others(folder, monkeypatch):
    from pad.deployment import AdaptivePolicy

    def fail(self, *_):
        raise RuntimeError("no more weights")

    monkeypatch.setattr(AdaptivePolicy, "observe", fail)
    result = call("benchmark.py --config tiny.yaml --shifts none", folder)
    assert result.returncode == 2
    assert "1 cells failed" in result.stderr
    assert [record["cell"]["policy"] for record in results(folder / "results").values()] == ["frozen"]


def interrupt(monkeypatch, number: int) -> list[int]:
    """Break off the episode of this number, counted from one; the list has the seeds of all that began."""
    original, met = cells.run_episode, []

    def interrupted(env, policy, seed, record):
        met.append(seed)
        if len(met) == number:
            raise KeyboardInterrupt
        return original(env, policy, seed, record)

    monkeypatch.setattr(cells, "run_episode", interrupted)
    return met


def test_a_cell_that_was_stopped_goes_on_after_its_last_whole_episode(folder, finished, monkeypatch):
    met = interrupt(monkeypatch, 4)
    assert call("benchmark.py --config tiny.yaml", folder).returncode == 130
    (left,) = (folder / "results" / "under_way").glob("*.jsonl")
    with left.open("a") as file:
        file.write('{"episode": {"se')  # it was killed while it wrote
    assert call("benchmark.py --config tiny.yaml", folder).returncode == 0
    assert results(folder / "results") == results(finished / "results")
    assert len(met) == 16 + 1  # the one that was cut off, and no other, began twice
    assert len(list((folder / "results" / "videos").iterdir())) == 8
    assert not (folder / "results" / "under_way").exists()


def test_a_film_that_is_missing_is_made_again(folder, monkeypatch):
    met = interrupt(monkeypatch, 2)
    assert call("benchmark.py --config tiny.yaml --shifts none", folder).returncode == 130
    next((folder / "results" / "under_way").glob("*.mp4")).unlink()
    assert call("benchmark.py --config tiny.yaml --shifts none", folder).returncode == 0
    assert len(list((folder / "results" / "videos").iterdir())) == 2
    assert met == [met[0], met[1]] * 3  # the first cell from its beginning, then the second


def test_a_policy_that_gave_up_learns_again_in_the_next_episode(folder, monkeypatch):
    given_up, original = [], cells.run_episode

    def failing(env, policy, seed, record):
        learner = policy._learner
        given_up.append(learner.given_up)
        learner.given_up = True
        return original(env, policy, seed, record)

    monkeypatch.setattr(cells, "run_episode", failing)
    command = "benchmark.py --config tiny.yaml --shifts color_hard --policies quick.yaml --no-videos"
    assert call(command, folder).returncode == 0
    assert given_up == [False, False]


def test_a_policy_that_is_never_reset_begins_its_life_anew(folder, monkeypatch):
    (folder / "lasting.yaml").write_text(f"{QUICK}reset: never\n")
    met = interrupt(monkeypatch, 2)
    command = "benchmark.py --config tiny.yaml --shifts color_hard --policies lasting.yaml"
    assert call(command, folder).returncode == 130
    assert call(command, folder).returncode == 0
    broken = results(folder / "results")
    assert met == [met[0], met[1], met[0], met[1]]
    shutil.rmtree(folder / "results")
    assert call(command, folder).returncode == 0
    assert results(folder / "results") == broken


def test_the_bar_moves_by_episodes_and_counts_none_twice(tmp_path):
    class Bar:
        n = 3

        def update(self, by):
            self.n += by

    first, second = under_way.UnderWay(tmp_path, "first", {}), under_way.UnderWay(tmp_path, "second", {})
    for seed in range(3):
        first.add(record(seed))
    bar = Bar()
    with under_way.Progress(bar, tmp_path, ["first", "second"]).watching() as progress:
        second.add(record(0))
        first.remove()
        progress.finish("first", 5)
        assert bar.n == 5 + 1
        second.remove()  # it begins anew
        progress.finish("third", 0)
        assert bar.n == 5


def record(seed: int, **change) -> dict:
    return {"episode": {"seed": seed}, "filmed": False, "steps": 1, "control_seconds": 1.0, "seconds": 1.0, **change}


def seeds_kept(folder: Path, maker: dict | None = None, filmed: bool = False) -> list[int]:
    found, _ = under_way.UnderWay(folder, "cell", maker or {}).read([3, 5, 7, 9], filmed)
    return [each["episode"]["seed"] for each in found]


def test_what_two_workers_left_together_counts_once(tmp_path):
    kept = under_way.UnderWay(tmp_path, "cell", {})
    for seed in (3, 5, 3, 5, 7):
        kept.add(record(seed))
    assert seeds_kept(tmp_path) == [3, 5, 7]
    assert under_way.count(tmp_path, ["cell"]) == 3


def test_what_something_else_played_or_is_no_record_does_not_count(tmp_path):
    under_way.UnderWay(tmp_path, "cell", {"torch": "1"}).add(record(3))
    assert seeds_kept(tmp_path, {"torch": "2"}) == []
    kept = under_way.UnderWay(tmp_path, "cell", {})
    kept.add(record(3))
    with (tmp_path / "under_way" / "cell.jsonl").open("a") as file:
        file.write("[]\n{}\nnull\n")
    kept.add(record(5))
    assert seeds_kept(tmp_path) == [3, 5]
    assert seeds_kept(tmp_path, filmed=True) == []  # the first one has no film
    assert under_way.count(tmp_path, ["cell"]) == 0


def test_a_folder_that_cannot_be_used_keeps_nothing_and_stops_nothing(tmp_path):
    kept = under_way.UnderWay(tmp_path / "elsewhere", "cell", {})
    kept.add(record(3), b"film")
    assert kept.read([3], True) == ([], None)
    kept.remove()
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "under_way").write_text("a file in its place")
    kept = under_way.UnderWay(tmp_path, "cell", {})
    assert kept.read([3], False) == ([], None)
    kept.add(record(3))
    kept.remove()


def die(cell, command, video):
    """Like a process that ran out of memory."""
    if cell.shift == "color_hard":
        os.kill(os.getpid(), signal.SIGKILL)
    return cells.Result(cell, [], {})


def name_lost(cell, *_):
    return cells.Result(cell, [], {}, None, "lost", "")


@pytest.mark.slow
def test_a_process_that_dies_takes_no_other_cell_with_it(folder, monkeypatch):
    import benchmark
    import engines

    monkeypatch.chdir(folder)
    made = benchmark.make_cells(benchmark.read_config(["--config", "tiny.yaml"]))
    jobs = [(cell, "", False) for cell in made]
    found = list(engines.compute(die, jobs, "local", 2, None, name_lost))
    assert {result.cell.id for result in found} == {cell.id for cell in made}
    assert {result.cell.shift for result in found if result.error} == {"color_hard"}


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"id": "other"}'])
def test_a_damaged_file_is_set_aside_and_its_cell_run_again(finished, tmp_path, content):
    shutil.copytree(finished, tmp_path / "work")
    damaged = next((tmp_path / "work" / "results" / "cells").iterdir())
    damaged.write_text(content)
    result = call("benchmark.py --config tiny.yaml", tmp_path / "work")
    assert result.returncode == 0, result.stderr
    assert "8 cells, 7 of them finished" in result.stderr
    assert str(damaged.name) in result.stderr
    assert results(tmp_path / "work" / "results") == results(finished / "results")
    assert (tmp_path / "work" / "results" / "damaged" / damaged.name).read_text() == content


def test_more_episodes_stand_beside_fewer_and_displace_nothing(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "work")
    assert call("benchmark.py --config tiny.yaml --shifts none --episodes 1", tmp_path / "work").returncode == 0
    assert len(results(tmp_path / "work" / "results")) == 10
    assert not (tmp_path / "work" / "results" / "superseded").exists()


def test_other_films_in_the_same_folder_are_other_cells(folder):
    (folder / "films").mkdir()
    write_film(folder / "films" / "a.mp4", color=200)
    command = "benchmark.py --config tiny.yaml --shifts video_easy --policies frozen --shift-data films"
    assert call(command, folder).returncode == 0
    write_film(folder / "films" / "a.mp4", color=90)
    again = call(command, folder)
    assert "1 cells, 0 of them finished" in again.stderr
    assert "1 of the others stand there with other weights, settings or data" in again.stderr


def test_what_failed_is_forgotten_once_its_place_is_measured(folder):
    failed = folder / "results" / "failed" / "old.json"
    assert call("benchmark.py --config tiny.yaml --shifts none --policies frozen", folder).returncode == 0
    (record,) = results(folder / "results").values()
    failed.parent.mkdir()
    failed.write_text(json.dumps({"id": "old", "cell": {**record["cell"], "weights": "older"}, "error": "then"}))
    shutil.rmtree(folder / "results" / "cells")
    assert call("benchmark.py --config tiny.yaml --shifts none --policies frozen", folder).returncode == 0
    assert not failed.exists()


def test_a_worker_gets_the_scripts_that_its_job_was_sent_with(tmp_path):
    import engines

    def archive(number: int) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as zipped:
            zipped.writestr("shipped_module.py", f"def number(): return {number}")
        return file.getvalue()

    # As pickle writes a function of a module that only the worker has.
    parcel = b"\x80\x04\x8c\x0eshipped_module\x8c\x06number\x93)\x86."
    run = engines._carried()
    assert [pickle.loads(run(archive(number), parcel)) for number in (1, 2, 2, 3)] == [1, 2, 2, 3]


@pytest.mark.slow
def test_workers_end_with_the_benchmark_that_was_killed(folder):
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), "--config", "tiny.yaml", "--episodes", "300"]
    started = subprocess.Popen([*command, "--workers", "2"], cwd=folder, stderr=subprocess.DEVNULL)
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    deadline = time.monotonic() + 120
    while len(workers := [pid for pid in children.read_text().split() if "loky" in cmdline(pid)]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    time.sleep(10)  # until they have begun their cells
    started.kill()
    started.wait()
    deadline = time.monotonic() + 60
    while any("--process-name" in cmdline(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def cmdline(pid: str) -> str:
    """Empty for a process that is no more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_a_second_benchmark_in_the_same_folder_is_refused(folder):
    with store.locked(folder / "results"):
        result = call("benchmark.py --config tiny.yaml", folder)
    assert result.returncode == 2
    assert "another benchmark is running in results" in result.stderr


@pytest.mark.slow
def test_a_sequence_is_one_life(folder):
    (folder / "never.yaml").write_text(QUICK + "reset: never\n")
    command = "benchmark.py --config tiny.yaml --sequence none color_hard none --policies frozen quick.yaml never.yaml"
    assert call(command, folder).returncode == 0
    found = {record["cell"]["policy"]: record for record in results(folder / "results").values()}
    assert set(found) == {"frozen", "quick", "never"}
    for record in found.values():
        assert [e["shift"] for e in record["episodes"]] == ["none"] * 2 + ["color_hard"] * 2 + ["none"] * 2
    drift = {name: [episode["drift"] for episode in record["episodes"]] for name, record in found.items()}
    assert max(drift["frozen"]) == 0
    assert drift["never"][-1] > max(drift["quick"])


BAD = {
    "benchmark.py --config nowhere.yaml": "no config file nowhere.yaml",
    "benchmark.py --config tiny.yaml --checkpoints nowhere": "no checkpoint at 'nowhere'",
    "benchmark.py --config tiny.yaml --policies best": "unknown policy 'best'; known: frozen, default",
    "benchmark.py --config tiny.yaml --policies default": "scripts/calibrate.py",
    "benchmark.py --config tiny.yaml --shifts fog": "unknown shift 'fog'; known: none",
    "benchmark.py --config tiny.yaml --shifts none none": "shifts names none twice",
    "benchmark.py --config tiny.yaml --tasks walker_walk": "tiny has 1 actions, walker_walk takes (6,)",
    "benchmark.py --config tiny.yaml --tasks walker_fly": "unknown task 'walker_fly'",
    "benchmark.py --config tiny.yaml --episodes 0": "at least 1",
    "benchmark.py --config tiny.yaml --engine cloud": "cloud",
    "benchmark.py --config tiny.yaml --address tcp://head:8786": "name its engine too",
    "benchmark.py --config tiny.yaml --shift-data nowhere": "nowhere",
    "benchmark.py --config tiny.yaml --policies policies/frozen.yaml": "'frozen', which is another policy: rename",
    "benchmark.py --config tiny.yaml --policies policies/light.yaml": "'light', which is another policy: rename",
    "benchmark.py --config life.yaml --shifts none": "a sequence takes the place of shifts",
}


@pytest.mark.parametrize("command", BAD)
def test_bad_input_gets_one_line_and_exit_code_2(folder, command):
    (folder / "policies").mkdir()
    for name in ("frozen", "light"):
        (folder / "policies" / f"{name}.yaml").write_text("every: 3")
    (folder / "life.yaml").write_text(f"{(folder / 'tiny.yaml').read_text()}\nsequence: [none, color_hard]\n")
    result = call(command, folder)
    assert result.returncode == 2, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert BAD[command] in line
    assert not (folder / "results" / "cells").exists()


@pytest.mark.slow
def test_a_benchmark_that_is_killed_again_and_again_ends_as_an_unbroken_one(finished, folder):
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), "--config", "tiny.yaml", "--workers", "2"]
    for seconds in (9, 11, 13, 8):
        started = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(seconds)
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    assert run("benchmark.py --config tiny.yaml --workers 2", folder).returncode == 0
    assert results(folder / "results") == results(finished / "results")
    assert not list((folder / "results").rglob("*.new"))


@pytest.mark.slow
def test_interrupting_keeps_what_is_finished(folder):
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), "--config", "tiny.yaml", "--episodes", "60"]
    started = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    while not list((folder / "results").glob("cells/*.json")):
        assert started.poll() is None
        time.sleep(0.2)
    started.send_signal(signal.SIGINT)
    assert "Traceback" not in started.communicate(timeout=60)[1]
    assert started.returncode == 130


def engine(name: str, arguments: str, finished: Path, folder: Path) -> None:
    result = run(f"benchmark.py --config tiny.yaml --workers 2 --engine {name} {arguments}", folder)
    assert result.returncode == 0, result.stderr
    assert results(folder / "results") == results(finished / "results")


@pytest.mark.slow
def test_processes_here_give_the_same_to_the_last_digit(finished, folder):
    engine("local", "", finished, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "package", "arguments"),
    [("dask", "distributed", ""), ("ray", "ray", ""), ("slurm", "submitit", "--address local")],
)
def test_a_cluster_started_here_gives_the_same_to_the_last_digit(finished, folder, name, package, arguments):
    pytest.importorskip(package)
    engine(name, arguments, finished, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "package", "address"),
    [("dask", "distributed", None), ("ray", "ray", None), ("slurm", "submitit", "local")],
)
def test_a_process_that_dies_on_a_cluster_takes_no_other_job_with_it(tmp_path, monkeypatch, name, package, address):
    pytest.importorskip(package)
    import engines

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'tests'}:{ROOT}")
    jobs = [(number,) for number in range(5)]
    found = list(engines.compute(square_but_two, jobs, name, 2, address, lambda number: f"lost {number}"))
    assert sorted(found, key=str) == sorted([0, 1, "lost 2", 9, 16], key=str)


@pytest.mark.slow
def test_dask_workers_that_were_started_elsewhere_give_the_same(finished, folder, tmp_path):
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Workers know the checkpoint by its path, and nothing of the scripts.
    (tmp_path / "tiny").symlink_to(folder / "tiny")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONPATH"] = str(ROOT)
    start = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port),
             "--no-dashboard"]  # fmt: skip
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}", "--nworkers", "2",
              "--nthreads", "1", "--no-dashboard"]  # fmt: skip
    started = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
        for command in (start, worker)
    ]
    try:
        engine("dask", f"--address tcp://127.0.0.1:{port}", finished, folder)
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "package", "address"), [("dask", "distributed", "tcp://127.0.0.1:1"), ("ray", "ray", "127.0.0.1:1")]
)
def test_a_cluster_that_does_not_answer_is_one_line(folder, name, package, address):
    pytest.importorskip(package)
    result = run(f"benchmark.py --config tiny.yaml --engine {name} --address {address}", folder)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert address in result.stderr


@pytest.mark.parametrize(("name", "module"), [("dask", "distributed"), ("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_package_of_an_engine_is_named(folder, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    result = call(f"benchmark.py --config tiny.yaml --engine {name}", folder)
    assert result.returncode == 2
    assert "pip install 'pad-rl[cluster]'" in result.stderr


@pytest.mark.slow
def test_the_benchmarks_that_ship_can_be_run(tmp_path):
    for path in sorted((ROOT / "configs" / "benchmark").glob("*.yaml")):
        if "name" in yaml.safe_load(path.read_text()) and path.stem != "published":
            import benchmark

            before = Path.cwd()
            os.chdir(ROOT)
            try:
                found = benchmark.make_cells(benchmark.read_config(["--config", str(path)]))
            finally:
                os.chdir(before)
            assert len({cell.id for cell in found}) == len(found) > 1


def test_other_code_of_a_shift_of_ones_own_is_another_cell(folder, monkeypatch):
    from envs import shifts
    from envs.shifts.sensor import Sensor

    class Fog(Sensor):
        """Grey."""

    import benchmark

    source = folder / "my_shifts.py"
    source.write_text("strength = 1")
    monkeypatch.setattr(shifts, "_KINDS", dict(shifts._KINDS))
    monkeypatch.setattr(shifts, "SHIFTS", shifts._KINDS)
    monkeypatch.setattr(shifts.inspect, "getfile", lambda kind: str(source))
    monkeypatch.setattr(shifts, "_REGISTERED", {})
    shifts.register("fog", Fog, "sensor")
    monkeypatch.chdir(folder)

    def ids(shift: str) -> set[str]:
        config = benchmark.read_config(["--config", "tiny.yaml", "--shifts", shift])
        return {cell.id for cell in benchmark.make_cells(config)}

    before, without = ids("color_hard + fog"), ids("color_hard")
    source.write_text("strength = 2")
    assert before == ids("color_hard + fog")  # what this process runs is what it imported
    del shifts._KINDS["fog"]
    shifts.register("fog", Fog, "sensor")
    assert not before & ids("color_hard + fog")
    assert without == ids("color_hard")


def test_a_cell_on_a_gpu_names_it(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(cells, "hardware", lambda device="cpu": f"a machine with {device}")
    import benchmark

    cell = benchmark.make_cells(benchmark.read_config(["--config", "tiny.yaml", "--shifts", "none"]))[0]
    assert cells.run_cell(cell, "", False).measured["hardware"] == "a machine with cpu"
    missing = cells.run_cell(cells.dataclasses.replace(cell, device="cuda"), "", False)
    assert missing.error or missing.measured["hardware"] == "a machine with cuda"


def test_two_cells_in_one_process_would_play_in_the_same_environment(folder, monkeypatch):
    monkeypatch.chdir(folder)
    import benchmark

    cell = benchmark.make_cells(benchmark.read_config(["--config", "tiny.yaml", "--shifts", "none"]))[0]
    with cells._running:
        assert "another cell runs in this process" in cells.run_cell(cell, "", False).error
    assert not cells.run_cell(cell, "", False).error
