import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
from soak import Point, SoakConfig, findings, make_policy, soak  # noqa: E402

SHORT = SoakConfig(steps=300, points=10, every=2, save_every=50, episode_steps=40, hostile=0.2)


def run(**changes) -> list[Point]:
    points = [Point(step, 1.0, 1.0, 500.0, 10, 1, 0.1) for step in range(100, 2100, 100)]
    return [dataclasses.replace(point, **{name: values(point) for name, values in changes.items()}) for point in points]


def test_a_run_that_stays_as_it_is_passes():
    assert findings(run(), SoakConfig()) == []


def test_a_run_that_grows_slows_down_or_stops_learning_fails():
    (grown,) = findings(run(rss_mb=lambda p: 500 + p.step / 100), SoakConfig())
    assert "memory grew by 18.0 MB" in grown
    (slow,) = findings(run(cpu_ms_per_step=lambda p: 1 + p.step / 2000), SoakConfig())
    assert "times as long at the end" in slow
    (idle,) = findings(run(updates=lambda p: 10 * (p.step < 1000)), SoakConfig())
    assert "nothing was learned any more" in idle


def test_memory_is_measured():
    """In a fresh process, which has no freed pages to use again."""
    code = (
        "import soak\nbefore = soak.resident_mb()\nheld = bytearray(b'x') * (64 << 20)\n"
        "print(soak.resident_mb() - before)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "scripts", check=True, capture_output=True, text=True)
    assert 50 < float(ran.stdout) < 80


@pytest.mark.parametrize("adaptation", ["inline", "background"])
def test_hostile_observations_are_met_and_learning_goes_on(tmp_path, adaptation):
    config = dataclasses.replace(SHORT, adaptation=adaptation)
    with make_policy(config) as policy:
        points = list(soak(policy, config, tmp_path))
        assert [point.step for point in points] == list(range(30, 301, 30))
        assert sum(point.updates for point in points) > 10
        assert {"frames_constant", "frames_shape", "frames_dtype"} <= policy.counts.keys()
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]


@pytest.mark.slow
def test_a_short_soak_passes_and_writes_its_points(tmp_path):
    output = tmp_path / "soak.json"
    command = [sys.executable, str(ROOT / "scripts" / "soak.py"), "--steps", "6000", "--output", str(output)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert "neither memory nor time grew" in result.stderr
    record = json.loads(output.read_text())
    assert record["points"][-1]["step"] == 6000
    assert record["command"].endswith(f"--output {output}")
