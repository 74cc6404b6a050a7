import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

ROOT = Path(__file__).parents[1]
import camera_loop  # noqa: E402
import cli  # noqa: E402
from camera_loop import LoopConfig, Recent, Robot  # noqa: E402
from hostile import FAULTS, spoil  # noqa: E402
from wire import MAX_HEADER, Closed, Decoder, Link, Malformed, Message, encode  # noqa: E402

ARRAYS = hnp.arrays(st.sampled_from([np.uint8, np.float32]), hnp.array_shapes(max_dims=4), elements=st.integers(0, 9))


@given(
    st.lists(st.tuples(st.integers(), st.none() | ARRAYS), min_size=1, max_size=4),
    st.lists(st.integers(1, 60), min_size=1),
)
def test_messages_arrive_as_they_were_sent_in_whatever_pieces(sent, pieces):
    stream = b"".join(encode({"kind": "frame", "seq": seq}, array) for seq, array in sent)
    decoder, received, at = Decoder(), [], 0
    while at < len(stream):
        piece = pieces[len(received) % len(pieces)]
        received += decoder.feed(stream[at : at + piece])
        at += piece
    assert [message.header["seq"] for message in received] == [seq for seq, _ in sent]
    for message, (_, array) in zip(received, sent, strict=True):
        if array is None:
            assert message.array is None
        else:
            assert message.array.dtype == array.dtype
            np.testing.assert_array_equal(message.array, array)


def framed(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"GET / HTTP/1.1\r\n", "at most 65536 bytes"),
        ((MAX_HEADER + 1).to_bytes(4, "big"), "at most 65536 bytes"),
        (framed(b"hello"), "must be JSON"),
        (framed(b"\xff\xfe"), "must be JSON"),
        (framed(b"[" * 60000), "must be JSON"),
        (framed(b"[1]"), "an object with a kind"),
        (framed(b'{"seq": 1}'), "an object with a kind"),
        (framed(b'{"kind": "frame", "dtype": "object", "shape": [1]}'), "dtype must be one of uint8, float32"),
        (framed(b'{"kind": "frame", "dtype": ["uint8"], "shape": [1]}'), "dtype must be one of uint8, float32"),
        (framed(b'{"kind": "frame", "dtype": "uint8"}'), "shape must be a list"),
        (framed(b'{"kind": "frame", "dtype": "uint8", "shape": [-1]}'), "shape must be a list"),
        (framed(b'{"kind": "frame", "dtype": "uint8", "shape": [true]}'), "shape must be a list"),
        (framed(b'{"kind": "frame", "dtype": "uint8", "shape": [99999999999]}'), "at most 16777216 bytes"),
    ],
)
def test_what_is_no_message_is_refused_as_soon_as_it_is_clear(stream, message):
    with pytest.raises(Malformed, match=message):
        Decoder().feed(stream)


@pytest.mark.parametrize(
    ("header", "array"),
    [
        ({"kind": "a", "x": float("nan")}, None),
        ({"kind": "a" * MAX_HEADER}, None),
        ({"kind": "a"}, np.zeros(1, np.int64)),
        ({"kind": "a"}, np.zeros(1 << 25, np.uint8)),
    ],
)
def test_what_would_be_refused_is_not_sent(header, array):
    with pytest.raises(ValueError, match=r"JSON|at most|dtype"):
        encode(header, array)


def test_a_link_that_is_full_says_so_and_never_waits():
    one, other = socket.socketpair()
    sender, receiver = Link(one), Link(other)
    picture, sent = np.zeros((9, 100, 100), np.uint8), 0
    started = time.monotonic()
    while sender.send({"kind": "frame", "seq": sent}, picture):
        sent += 1
    assert time.monotonic() - started < 5
    received = []
    while len(received) <= sent:  # the one under way arrives too, the refused one does not
        received += receiver.receive(0.01)
        if not sender.send({"kind": "tick"}):
            continue
        if received[-1].header["kind"] == "tick":
            break
    assert [m.header["seq"] for m in received if m.header["kind"] == "frame"] == list(range(sent))


class Outgoing:
    """A link that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[list[float]] = []

    def send(self, header, *_, **__) -> bool:
        self.sent.append(list(header["round_trips_ms"]))
        return True


def test_a_round_trip_is_told_once_though_frames_go_out_late(gradient_env):
    link = Outgoing()
    robot = Robot(gradient_env, link, LoopConfig(spoil=0, drop=0, delay=0.999999))
    obs, _ = gradient_env.reset(seed=0)
    robot._last_obs = obs
    robot._show(obs)
    (_, _, late, _) = robot._late.pop()
    robot._round_trips.append(1.0)
    robot._send({"kind": "frame", "seq": 1, "time": 0.0}, obs)
    robot._round_trips.append(2.0)
    robot._send(late, obs)
    assert link.sent == [[1.0], [2.0]]


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"seq": 0},
        {"seq": [1], "action": [0.0, 0.0]},
        {"seq": float("inf"), "action": [0.0, 0.0]},
        {"seq": 0, "action": [0.0]},
        {"seq": 0, "action": ["x", 0.0]},
    ],
)
def test_a_message_without_what_its_kind_holds_is_malformed_on_both_sides(gradient_env, transition, broken):
    with pytest.raises(Malformed):
        Robot(gradient_env, Outgoing(), LoopConfig())._hear({"kind": "action", **broken})
    frame = Message({"kind": "frame", "episode": 0, **broken}, transition[0])
    link = SimpleNamespace(receive=lambda _: [frame])
    if broken.get("seq") != 0:
        with pytest.raises(Malformed, match="must have seq"):
            camera_loop.Loop(None, link).turn(1.0)


def test_a_side_that_is_gone_is_noticed_after_its_last_message():
    one, other = socket.socketpair()
    sender, receiver = Link(one), Link(other)
    sender.send({"kind": "end"})
    sender.close()
    assert [message.header["kind"] for message in receiver.receive(1.0)] == ["end"]
    with pytest.raises(Closed):
        receiver.receive(1.0)
    with pytest.raises(Closed):
        receiver.send({"kind": "frame"})


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_spoils_an_observation_and_leaves_the_original(transition, fault):
    obs, _, before = transition
    copy = obs.copy()
    spoiled = spoil(obs, before, fault, np.random.default_rng(1))
    assert spoiled.shape != obs.shape or spoiled.dtype != obs.dtype or (spoiled != obs).any()
    assert (obs == copy).all()


def test_an_unknown_fault_is_refused(transition):
    with pytest.raises(ValueError, match="unknown fault 'fog'; known: black"):
        spoil(transition[0], transition[2], "fog", np.random.default_rng(0))


def start(*arguments: str) -> subprocess.Popen:
    """The command as a user starts it, in a process group of its own as a shell gives it."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "camera_loop.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )


def until_running(process: subprocess.Popen) -> int:
    """Wait for the first report; the robot's process id."""
    robot = 0
    for line in process.stderr:
        if "the robot is process" in line:
            robot = int(line.split()[-1])
        if "control" in line:
            return robot
    raise AssertionError(f"ended with {process.wait()} before it ran")


def ended(pid: int, patience: float = 15.0) -> bool:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        stat = Path(f"/proc/{pid}/stat")
        try:
            if stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_a_loop_keeps_its_rate_beside_a_bad_camera_and_sums_it_up(tmp_path):
    process = start("--seconds", "6", "--drop", "0.1", "--delay", "0.1", "--spoil", "0.2", "--gate", "None",
                    "--gate-features", "None", "--output", str(tmp_path / "loop.json"))  # fmt: skip
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "control" in out
    summary = json.loads((tmp_path / "loop.json").read_text())
    frames, robot = summary["frames"], summary["robot"]
    assert 90 <= robot["frames"] <= 130
    assert frames["received"] + robot["dropped"] <= robot["frames"]
    assert frames["acted_on"] + frames["late"] + frames["skipped"] == frames["received"]
    assert summary["transitions"] + summary["gaps"] <= frames["acted_on"]
    assert robot["dropped"] > 0
    assert any(name.startswith("frames_") for name in summary["guards"])
    assert summary["updates_per_second"] > 0


@pytest.mark.slow
def test_an_interrupt_ends_both_processes():
    process = start("--report-seconds", "1")
    robot = until_running(process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert "control" in out
    assert "Traceback" not in err
    assert ended(robot)


@pytest.mark.slow
def test_when_the_policy_dies_the_robot_stops_with_an_error_that_says_so():
    process = start("--report-seconds", "1")
    robot = until_running(process)
    os.kill(process.pid, signal.SIGKILL)
    assert ended(robot)
    _, err = process.communicate(timeout=90)
    assert "error: robot: the policy process is gone" in err


@pytest.mark.slow
def test_when_the_robot_dies_the_policy_stops_with_an_error_that_says_so():
    process = start("--report-seconds", "1")
    os.kill(until_running(process), signal.SIGKILL)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 2
    assert "error: policy: the robot process is gone (exit code -9)" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--seconds 0", "seconds must be positive"),
        ("--drop 1.5", "drop must be at least 0 and below 1"),
        ("--role robot", "needs a port"),
        ("--checkpoint nowhere", "no checkpoint at 'nowhere'"),
    ],
)
def test_bad_flags_are_refused_in_one_line(flags, message):
    _, err = (process := start(*flags.split())).communicate(timeout=60)
    assert process.returncode == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_port_that_another_listens_at_is_told_by_its_number():
    with camera_loop.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(cli.BadInput, match=f"cannot listen at 127.0.0.1:{port}: .*in use"):
            camera_loop.listen("127.0.0.1", port)


def test_of_a_loop_that_runs_for_ever_only_the_newest_figures_are_kept():
    recent = Recent(most=10)
    for value in range(25):
        recent.add(float(value))
    assert recent.count == 25
    assert recent.since(0) == [float(value) for value in range(15, 25)]
    assert recent.since(23) == [23.0, 24.0]
    assert recent.since(25) == []
