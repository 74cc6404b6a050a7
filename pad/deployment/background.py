"""Learning in a thread of its own, so that the control loop never waits for it."""

import atexit
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from pad.deployment.budget import Budget
from pad.deployment.learner import Learner, Weights
from pad.deployment.model import Transition
from pad.types import Metrics

T = TypeVar("T")
PENDING = 4
"""Transitions that may wait; of more, the oldest are dropped."""


class Background:
    """Feeds a learner with transitions, as fast as it takes them.

    `newest` are the weights to act with. PyTorch computes outside Python's global lock, so the
    thread that acts hardly notices. On CUDA learning has a stream of its own, so that no action
    queues behind it.
    """

    def __init__(self, learner: Learner, budget: Budget) -> None:
        self._shared = _Shared(learner, budget)
        self._thread = threading.Thread(target=_work, args=(self._shared,), name="pad-adaptation", daemon=True)
        self._thread.start()
        _threads[self._thread] = self._shared.stop
        self._inside: set[int] = set()
        """Threads of the control loop that hold locks."""
        # The thread knows nothing of this object, and ends with it.
        self._finalizer = weakref.finalize(self, self._shared.stop)

    @property
    def newest(self) -> Weights:
        return self._shared.newest

    @property
    def dropped(self) -> int:
        """Transitions that came too fast to be learned from."""
        return self._shared.dropped

    def submit(self, transition: Transition) -> Metrics:
        """Hand over one transition; returns at once, with what has been measured since the last call.

        Raises:
            RuntimeError: when the learner failed before it ever worked; later failures it counts.
        """
        shared = self._shared
        if shared.error is not None:
            raise RuntimeError("adaptation in the background failed") from shared.error
        if not self._thread.is_alive():
            return {"updates": 0}
        with self._entered(), shared.lock:
            if len(shared.waiting) == PENDING:
                shared.waiting.popleft()
                shared.dropped += 1
            shared.waiting.append((transition, time.perf_counter(), shared.so_far()))
            shared.idle.clear()
            measured, shared.measured = shared.measured, {"updates": 0}
        shared.wake.set()
        return measured

    def call(self, function: Callable[[], T], forget: bool = True) -> T:
        """Call something that changes the learner, between two of its steps.

        Args:
            forget: what waits and what was measured; else that is learned and told later.
        """
        shared = self._shared
        with self._paused():
            result = function()
            if shared.newest is not shared.learner.weights:
                shared.newest, shared.newest_since = shared.learner.weights, time.perf_counter()
            if forget:
                with shared.lock:
                    shared.waiting.clear()
                    shared.measured = {"updates": 0}
        return result

    def read(self, function: Callable[[], T]) -> T:
        """Call something that only looks at the learner, between two of its steps; what waits is learned later."""
        with self._paused():
            return function()

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """After the step that the learner is in, and before the next."""
        with self._entered():
            self._shared.go.clear()  # locks are not fair: the thread could take this one again and again
            try:
                with self._shared.learning:
                    try:
                        yield
                    finally:
                        if event := self._shared.so_far():
                            event.synchronize()  # what was asked of the device here is done before learning goes on
            finally:
                self._shared.go.set()

    @contextmanager
    def _entered(self) -> Iterator[None]:
        """Inside, this thread holds locks; a signal's handler that runs in between would wait for them for ever.

        Raises:
            RuntimeError: when the thread is inside already.
        """
        thread = threading.get_ident()
        if thread in self._inside:
            raise RuntimeError(
                "the policy was called while this thread was inside another of its calls, as by the handler of a "
                "signal: set a flag there, and save from the loop"
            )
        self._inside.add(thread)
        try:
            yield
        finally:
            self._inside.discard(thread)

    def drain(self, timeout: float = 60.0) -> None:
        """Wait until nothing waits to be learned from.

        Raises:
            TimeoutError: when that takes longer.
        """
        if not self._shared.idle.wait(timeout):
            raise TimeoutError(f"adaptation is still busy after {timeout} seconds")

    def report(self) -> Metrics:
        """Gradient steps so far and a second, and the age of the weights in use in seconds."""
        shared = self._shared
        seconds = time.perf_counter() - shared.started
        age = time.perf_counter() - shared.newest_since
        return {
            "updates": shared.updates,
            "updates_per_second": shared.updates / max(seconds, 1e-9),
            "weights_age_seconds": age,
        }

    def close(self) -> None:
        """End the thread, after the step that it is in."""
        self._finalizer()
        self._thread.join(timeout=60)


class _Shared:
    """What the control loop and the learning thread both know."""

    def __init__(self, learner: Learner, budget: Budget) -> None:
        self.learner, self.budget = learner, budget
        self.newest: Weights = learner.weights
        self.waiting: deque[tuple[Transition, float, torch.cuda.Event | None]] = deque()
        device = learner.model.device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.measured: Metrics = {"updates": 0}
        self.lock, self.learning = threading.Lock(), threading.Lock()
        self.wake, self.idle, self.go = threading.Event(), threading.Event(), threading.Event()
        self.idle.set()
        self.go.set()
        self.stopped = False
        self.dropped = self.updates = 0
        self.started = self.newest_since = time.perf_counter()
        self.error: BaseException | None = None

    def stop(self) -> None:
        self.stopped = True
        self.wake.set()

    def so_far(self) -> torch.cuda.Event | None:
        """All that the calling thread has asked of the device until now."""
        if self.stream is None:
            return None
        return torch.cuda.current_stream(self.stream.device).record_event()

    @contextmanager
    def beside(self, event: torch.cuda.Event | None) -> Iterator[None]:
        """Inside, the device works after `event` on a stream of its own; all of it is done at the end."""
        if self.stream is None or event is None:
            yield
            return
        with torch.cuda.stream(self.stream):
            self.stream.wait_event(event)
            try:
                yield
            finally:
                self.stream.synchronize()


_threads: "weakref.WeakKeyDictionary[threading.Thread, Callable[[], None]]" = weakref.WeakKeyDictionary()


@atexit.register
def _end_all() -> None:
    # A thread that is inside PyTorch when the interpreter goes takes the process down with it.
    running = list(_threads.items())
    for _, stop in running:
        stop()
    for thread, _ in running:
        thread.join(timeout=10)


def _work(shared: _Shared) -> None:
    while not shared.stopped:
        shared.wake.wait()
        shared.go.wait()
        with shared.learning:
            with shared.lock:
                if not shared.waiting:
                    shared.wake.clear()
                    shared.idle.set()
                    if shared.stopped:
                        shared.wake.set()
                    continue
                transition, arrived, asked = shared.waiting.popleft()
            try:
                with shared.budget.spending(), shared.beside(asked):
                    metrics = shared.learner.learn(transition)
            except BaseException as error:  # told to the control loop
                shared.error = error
                break
            if shared.learner.weights is not shared.newest:
                shared.newest, shared.newest_since = shared.learner.weights, arrived
            with shared.lock:
                done = metrics.pop("updates", 0)
                shared.updates += int(done)
                shared.measured = {**shared.measured, **metrics, "updates": shared.measured["updates"] + done}
    shared.idle.set()  # nothing will come of what still waits
