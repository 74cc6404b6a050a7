"""A control loop with a real camera's troubles: the policy in one process, the robot in another, a socket between them.

    python scripts/camera_loop.py --seconds 30
    python scripts/camera_loop.py --seconds 60 --shift video_easy --drop 0.1 --output loop.json

The robot steps in real time whatever the policy does: at each step it applies the last action that has reached it, and
sends what its camera sees. Some frames it drops, some it sends late, some arrive spoiled. The policy acts on the newest
frame and learns in the background. Each frame says which action led to it, so a transition is of the action that was
really applied, even if that came late; it is learned from only if its two frames follow each other.

The two sides can also be started by hand, on two machines or with a robot of your own that speaks scripts/wire.py:

    python scripts/camera_loop.py --role policy --port 5555
    python scripts/camera_loop.py --role robot --port 5555
"""

import contextlib
import dataclasses
import heapq
import json
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import cli
import numpy as np
import torch
import tyro
from episodes import hardware, trained_env
from hostile import some_fault, spoil
from wire import Closed, Link, Malformed

import envs
from pad.checkpoint import load_checkpoint
from pad.deployment import AdaptationConfig, AdaptivePolicy, Budget
from pad.tracking import say

SILENCE = 10.0
"""Seconds without a frame after which the robot is taken to be dead."""
BACKLOG = 8
"""Late frames that may be on their way at once."""
RETURNS = 100
"""Of whole episodes so many are told at the end, the last ones: a loop may run for ever."""


@dataclass(frozen=True)
class LoopConfig:
    """Act and adapt over a socket, beside dropped, late and spoiled frames."""

    seconds: float = 30.0
    """From the first frame on."""
    rate: float = 20.0
    """Steps of the robot a second."""
    checkpoint: str = "cartpole_swingup"
    """A run, a checkpoint folder, or the name of an agent that ships."""
    shift: str = "color_hard"
    """What the camera sees: none, color_easy, color_hard, video_easy or video_hard."""
    drop: float = 0.02
    """Share of frames that are never sent."""
    delay: float = 0.03
    """Share of frames that are sent late."""
    delay_ms: float = 80.0
    """By how much, at most."""
    spoil: float = 0.02
    """Share of frames that arrive black, white, as noise, frozen, shifted, or of a wrong shape or kind."""
    updates_per_second: float | None = None
    """Most learning opportunities a second. Default: as many as there is time for."""
    adapter: Annotated[AdaptationConfig, tyro.conf.OmitArgPrefixes] = field(
        default_factory=lambda: AdaptationConfig(reset="never")
    )
    report_seconds: float = 5.0
    """Between two reports."""
    seed: int = 0
    role: Literal["both", "policy", "robot"] = "both"
    """both: this process is the policy, and starts the robot."""
    host: str = "127.0.0.1"
    port: int = 0
    """Where the policy listens. 0: any that is free, with role both."""
    output: Path | None = None
    """JSON file for the summary."""

    def __post_init__(self) -> None:
        for name in ("seconds", "rate", "report_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("drop", "delay", "spoil"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if self.delay_ms < 0:
            raise ValueError(f"delay_ms must not be negative, got {self.delay_ms}")
        if not 0 <= self.port < 1 << 16 or (self.role != "both" and not self.port):
            raise ValueError(f"role {self.role} needs a port from 1 to 65535, got {self.port}")
        if self.role == "robot" and self.output is not None:
            raise ValueError("the figures are the policy's: give output to its process")


def main() -> None:
    config = cli.parse(LoopConfig, sys.argv[1:])
    torch.set_num_threads(1)
    if config.role == "robot":
        run_robot(config)
        return
    summary = run_policy(config)
    for line in lines(summary):
        print(line)
    if config.output:
        record = {"command": cli.typed(), "hardware": hardware(), "settings": plain(config),
                  **summary}  # fmt: skip
        cli.write_text(config.output, json.dumps(record, indent=1) + "\n")
        say(f"wrote {config.output}")
    if summary["interrupted"]:
        raise KeyboardInterrupt


# The robot


class Robot:
    """Steps an environment in real time, and sends what its camera sees as well as the link lets it."""

    def __init__(self, env: Any, link: Link, config: LoopConfig) -> None:
        self._env, self._link, self._config = env, link, config
        self._rng = np.random.default_rng(config.seed)
        self._action = np.zeros(env.action_space.shape, np.float32)
        self._answered, self._seq, self._episode = -1, -1, -1
        self._sent: dict[int, float] = {}
        self._late: list[tuple[float, int, dict[str, Any], np.ndarray]] = []
        self._round_trips: list[float] = []
        self._episode_return = 0.0
        self.returns: deque[float] = deque(maxlen=RETURNS)
        self.counts: Counter[str] = Counter()
        self.over = False

    def run(self) -> None:
        """Until the policy ends it."""
        self._begin()
        due = time.monotonic()
        while not self.over:
            due += 1 / self._config.rate
            if time.monotonic() > due + 1 / self._config.rate:
                self.counts["overruns"] += 1  # this process could not keep up: time goes on without these steps
                due = time.monotonic()
            self._wait(due)
            if not self.over:
                self._step()
        totals = {**self.counts, "frames": self._seq + 1}
        self._link.send({"kind": "totals", "counts": totals, "returns": list(self.returns)}, always=True)

    def _begin(self) -> None:
        self._episode += 1
        obs, _ = self._env.reset(seed=self._config.seed + self._episode)
        self._action, self._answered = np.zeros_like(self._action), self._seq  # older answers are of another episode
        self._last_obs, self._episode_return = obs, 0.0
        self._show(obs)

    def _step(self) -> None:
        self.counts["steps_without_new_action"] += self._answered < self._seq
        obs, reward, terminated, truncated, _ = self._env.step(self._action)  # whatever has come meanwhile
        self._episode_return += float(reward)
        self._show(obs)
        if terminated or truncated:
            self.returns.append(round(self._episode_return, 1))
            self._begin()

    def _show(self, obs: np.ndarray) -> None:
        self._seq += 1
        header = {"kind": "frame", "seq": self._seq, "episode": self._episode, "time": time.monotonic(),
                  "action": self._action.tolist()}  # fmt: skip
        before, self._last_obs = self._last_obs, obs
        config = self._config
        if self._rng.random() < config.spoil:
            self.counts["spoiled"] += 1
            obs = spoil(obs, before, some_fault(self._rng), self._rng)
        if self._rng.random() < config.drop:
            self.counts["dropped"] += 1
        elif self._rng.random() < config.delay and len(self._late) < BACKLOG:
            self.counts["delayed"] += 1
            release = time.monotonic() + self._rng.uniform(0, config.delay_ms) / 1e3
            heapq.heappush(self._late, (release, self._seq, header, obs))
        else:
            self._send(header, obs)

    def _send(self, header: dict[str, Any], obs: np.ndarray) -> None:
        # What has been measured until it goes out, each time once.
        if self._link.send({**header, "round_trips_ms": self._round_trips}, obs):
            self._round_trips = []
        else:
            self.counts["link_full"] += 1
        self._sent[header["seq"]] = header["time"]
        for seq in [seq for seq in self._sent if seq < header["seq"] - 100]:
            del self._sent[seq]

    def _wait(self, due: float) -> None:
        """Take actions and send late frames until a moment."""
        while not self.over and (left := due - time.monotonic()) > 0:
            if self._late:
                left = min(left, self._late[0][0] - time.monotonic())
            for message in self._link.receive(left):
                self._hear(message.header)
            while self._late and self._late[0][0] <= time.monotonic():
                _, _, header, obs = heapq.heappop(self._late)
                self._send(header, obs)

    def _hear(self, header: dict[str, Any]) -> None:
        if header["kind"] == "end":
            self.over = True
        elif header["kind"] == "action":
            try:
                seq, action = int(header["seq"]), np.asarray(header["action"], np.float32)
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise Malformed(f"an action's header must have seq and action, got {header}") from error
            if action.shape != self._action.shape or not np.isfinite(action).all():
                raise Malformed(f"an action must be {self._action.shape} numbers, got {header['action']!r}")
            if sent := self._sent.pop(seq, None):
                self._round_trips.append(1e3 * (time.monotonic() - sent))
            if seq > self._answered:
                self._action, self._answered = np.clip(action, -1, 1), seq


def run_robot(config: LoopConfig) -> None:
    """The robot's process.

    Raises:
        ChildProcessError: when the policy goes away before it has ended the run.
    """
    trained = trained_env(config.checkpoint, load_checkpoint(config.checkpoint).env)
    env = envs.make(dataclasses.replace(trained, shift=config.shift))
    link = Link(connect(config.host, config.port))
    robot = Robot(env, link, config)
    try:
        robot.run()
    except Closed as error:
        raise ChildProcessError(f"robot: the policy process is gone ({error}): stopped") from error
    except KeyboardInterrupt:
        sys.exit(130)  # the policy says so
    finally:
        link.close()
        env.close()


def connect(host: str, port: int, patience: float = 30.0) -> socket.socket:
    """The policy's socket, which may not be there yet.

    Raises:
        ChildProcessError: when it does not come.
    """
    until = time.monotonic() + patience
    while True:
        try:
            return socket.create_connection((host, port), timeout=patience)
        except OSError as error:  # noqa: PERF203  # that is the point
            if time.monotonic() > until:
                raise ChildProcessError(f"robot: no policy listens at {host}:{port}: {error}") from error
            time.sleep(0.2)


# The policy


@dataclass(frozen=True)
class Frame:
    """What the robot sent."""

    seq: int
    episode: int
    obs: np.ndarray
    action: np.ndarray
    """Applied in the step that led here."""


class Recent:
    """The newest of many values: a loop may run for ever."""

    def __init__(self, most: int = 50_000) -> None:
        self._values: deque[float] = deque(maxlen=most)
        self.count = 0
        """Of all that ever were."""

    def add(self, *values: float) -> None:
        self._values.extend(values)
        self.count += len(values)

    def since(self, count: int) -> list[float]:
        """Those after the first so many, as far as they are still there."""
        return list(self._values)[max(0, count - self.count + len(self._values)) :]


class Loop:
    """Acts on the newest frame, and learns from those that follow each other."""

    def __init__(self, policy: AdaptivePolicy, link: Link) -> None:
        self._policy, self._link = policy, link
        self._last: Frame | None = None
        self._newest = -1
        self.totals: dict[str, Any] = {}
        self.counts: Counter[str] = Counter()
        self.act_ms, self.round_trips_ms, self.acted_at = Recent(), Recent(), Recent()
        self.began: float | None = None
        """When it first acted."""

    def turn(self, timeout: float) -> None:
        """Take what has arrived, and answer the newest frame, if there is one."""
        newest: Frame | None = None
        for message in self._link.receive(timeout):
            header = message.header
            if header["kind"] == "totals":
                self.totals = header
            if header["kind"] != "frame" or message.array is None:
                continue
            try:
                self.round_trips_ms.add(*map(float, header.get("round_trips_ms", [])))
                frame = Frame(int(header["seq"]), int(header["episode"]), message.array,
                              np.asarray(header["action"], np.float32))  # fmt: skip
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise Malformed(f"a frame's header must have seq, episode and action, got {header}") from error
            self.counts["received"] += 1
            if frame.seq <= self._newest:
                self.counts["late"] += 1
                continue
            self.counts["skipped"] += newest is not None
            newest, self._newest = frame, frame.seq
        if newest is not None:
            self._answer(newest)

    def _answer(self, frame: Frame) -> None:
        last, self._last = self._last, frame
        follows = last is not None and last.seq + 1 == frame.seq
        if last is not None and last.episode != frame.episode:
            self._policy.reset()
            follows = False
        started = time.perf_counter()
        action = self._policy.act(frame.obs)
        self.act_ms.add(1e3 * (time.perf_counter() - started))
        self._link.send({"kind": "action", "seq": frame.seq, "action": np.asarray(action).tolist()}, always=True)
        self.acted_at.add(time.monotonic())
        self.began = self.began or time.monotonic()
        if follows and last is not None:
            self.counts["transitions"] += 1
            self._policy.observe(last.obs, frame.action, frame.obs)
        else:
            self.counts["gaps"] += last is not None

    @property
    def lost(self) -> int:
        """Frames that never came, or have not yet."""
        return self._newest + 1 - self.counts["received"]

    def summary(
        self, since: tuple[int, int] = (0, 0), updates_before: float = 0.0, seconds: float = 0.0
    ) -> dict[str, Any]:
        """Figures of the answers, and of the round trips, after the first so many; the counts are of the whole run."""
        report = self._policy.report()
        stamps = self.acted_at.since(since[0])
        span = stamps[-1] - stamps[0] if len(stamps) > 1 else 0.0
        return {
            "control_hz": round((len(stamps) - 1) / span, 2) if span else 0.0,
            "act_ms": quantiles(self.act_ms.since(since[0])),
            "round_trip_ms": quantiles(self.round_trips_ms.since(since[1])),
            "frames": {"received": self.counts["received"], "acted_on": self.act_ms.count, "late": self.counts["late"],
                       "skipped": self.counts["skipped"], "lost": self.lost},
            "transitions": self.counts["transitions"],
            "gaps": self.counts["gaps"],
            "guards": self._policy.counts,
            "updates_per_second": round((report["updates"] - updates_before) / seconds, 2) if seconds else 0.0,
            "weights_age_seconds": round(report["weights_age_seconds"], 2),
            "drift": round(report["drift"], 4),
        }  # fmt: skip


def run_policy(config: LoopConfig) -> dict[str, Any]:
    """The policy's process; what was measured.

    Raises:
        ChildProcessError: when the robot goes away before the run is over.
    """
    budget = Budget(updates_per_second=config.updates_per_second)
    agent = load_checkpoint(config.checkpoint).agent
    policy = AdaptivePolicy(agent, config.adapter, config.seed, "background", budget)
    with policy, robot_link(config) as (link, robot):
        loop = Loop(policy, link)
        interrupted = False
        try:
            drive(loop, policy, config)
            link.send({"kind": "end"}, always=True)
            with contextlib.suppress(Closed):
                until = time.monotonic() + 5
                while not loop.totals and time.monotonic() < until:
                    loop.turn(0.1)
        except Closed as error:
            code = None
            with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs, and is ended with the link
                code = None if robot is None else robot.wait(timeout=10)
            if code != 130:
                reason = str(error) if code is None else f"exit code {code}"
                raise ChildProcessError(f"policy: the robot process is gone ({reason}): stopped") from error
            interrupted = True
        except KeyboardInterrupt:
            interrupted = True
        seconds = loop.acted_at.since(0)[-1] - loop.began if loop.began is not None else 0.0
        return {"interrupted": interrupted, "seconds": round(seconds, 2), **loop.summary(seconds=seconds),
                "robot": loop.totals.get("counts", {}), "returns": loop.totals.get("returns", [])}  # fmt: skip


def drive(loop: Loop, policy: AdaptivePolicy, config: LoopConfig) -> None:
    """Answer frames for as long as was asked, and report now and then."""
    begun, heard = None, time.monotonic()
    reported_at, reported, updates = heard, (0, 0), 0.0
    while begun is None or time.monotonic() < begun + config.seconds:
        before = loop.counts["received"]
        loop.turn(0.1)
        now = time.monotonic()
        if loop.counts["received"] > before:
            heard = now
            if begun is None:
                begun = reported_at = now
        elif now - heard > SILENCE + 50 * (begun is None):
            raise Closed(f"no frame for {now - heard:.0f} seconds")
        if begun is not None and now - reported_at >= config.report_seconds:
            figures = loop.summary(reported, updates, now - reported_at)
            say(f"{now - begun:.0f} s: {'; '.join(lines(figures))}")
            reported_at, updates = now, policy.report()["updates"]
            reported = (loop.act_ms.count, loop.round_trips_ms.count)


@contextlib.contextmanager
def robot_link(config: LoopConfig) -> Iterator[tuple[Link, subprocess.Popen | None]]:
    """A connection to the robot, and with role both its process, which ends with this."""
    robot = None
    with listen(config.host, config.port) as server:
        if config.role == "both":
            port = server.getsockname()[1]
            command = [sys.executable, __file__, *sys.argv[1:], "--role", "robot", "--port", str(port)]
            robot = subprocess.Popen(command)  # noqa: S603  # this very script
            say(f"policy: the robot is process {robot.pid}")
        try:
            link = Link(accept(server, robot))
            try:
                yield link, robot
            finally:
                link.close()
        finally:
            if robot is not None:
                stop(robot)


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for the robot.

    Raises:
        BadInput: when none can listen there, as where another does.
    """
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise cli.BadInput(f"cannot listen at {host}:{port}: {error}") from error


def accept(server: socket.socket, robot: subprocess.Popen | None) -> socket.socket:
    """The robot's socket.

    Raises:
        ChildProcessError: when it ended before it was there.
    """
    server.settimeout(0.2)
    while True:
        try:
            return server.accept()[0]
        except TimeoutError:  # noqa: PERF203  # that is the point
            if robot is not None and robot.poll() is not None:
                raise ChildProcessError(f"policy: the robot ended with exit code {robot.returncode}") from None


def stop(robot: subprocess.Popen) -> None:
    """The link is closed: it ends by itself, or is ended."""
    for end in (lambda: None, robot.terminate, robot.kill):
        end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            robot.wait(timeout=3)
            return


# What is printed


def quantiles(values: list[float]) -> dict[str, float | None]:
    """Median and 99th percentile; None where there is nothing."""
    if not values:
        return {"median": None, "p99": None}
    return {"median": round(float(np.median(values)), 2), "p99": round(float(np.percentile(values, 99)), 2)}


def lines(figures: dict[str, Any]) -> list[str]:
    """For people."""
    act, trip, frames = figures["act_ms"], figures["round_trip_ms"], figures["frames"]
    guards = ", ".join(f"{name} {count}" for name, count in figures["guards"].items()) or "none"
    text = [
        f"control {figures['control_hz']} Hz",
        f"act {act['median']} ms, 99 % below {act['p99']} ms",
        f"round trip {trip['median']} ms, 99 % below {trip['p99']} ms",
        f"frames: {frames['received']} received, {frames['lost']} lost, {frames['late']} late, "
        f"{frames['skipped']} skipped",
        f"guards: {guards}",
        f"{figures['updates_per_second']} updates/s, weights {figures['weights_age_seconds']} s old, "
        f"drift {figures['drift']}",
    ]
    if figures.get("returns"):
        text.append(f"returns of the last whole episodes: {', '.join(map(str, figures['returns']))}")
    return text


def plain(config: LoopConfig) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


if __name__ == "__main__":
    cli.run(main)
