"""Where a benchmark's cells are computed: here, or on a user's cluster. Results come as they are finished."""

import asyncio
import builtins
import contextlib
import io
import logging
import os
import pickle
import socket
import types
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any, Literal, TypeVar

import cli
import joblib
from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from pad.processes import end_with
from pad.tracking import say

Engine = Literal["local", "dask", "ray", "slurm"]
R = TypeVar("R")
Run = Callable[[bytes, bytes], bytes]


def compute(
    function: Callable[..., R],
    jobs: Sequence[tuple[Any, ...]],
    engine: Engine,
    workers: int,
    address: str | None,
    lost: Callable[..., R],
) -> Iterator[R]:
    """`function(*job)` of each job, in whatever order they are finished.

    Args:
        workers: processes, here; on a cluster jobs that are under way at once.
        address: of a Dask scheduler or a Ray head, or a SLURM partition; None starts Dask or Ray here. For SLURM
            "local" runs its jobs on this machine, to try the set-up.
        lost: `lost(*job)` stands for the result of a job whose process died, here and on Dask more than once. A single
            worker here is this process itself.

    Raises:
        BadInput: when an engine's package is not installed, or nothing answers at the address.
    """
    if not jobs:
        return
    if engine == "local":
        yield from _compute_here(function, jobs, workers, lost)
        return
    run, parcels = _carried(), [(_scripts(), pickle.dumps((function, job))) for job in jobs]
    clusters = {"dask": _compute_on_dask, "ray": _compute_on_ray, "slurm": _compute_on_slurm}
    for number, result in clusters[engine](run, parcels, workers, address):
        yield lost(*jobs[number]) if result is None else pickle.loads(result)  # noqa: S301  # workers run our own code


def _compute_here(
    function: Callable[..., R], jobs: Sequence[tuple[Any, ...]], workers: int, lost: Callable[..., R]
) -> Iterator[R]:
    if min(workers, len(jobs)) == 1:
        for job in jobs:
            yield function(*job)
        return
    waiting = dict(enumerate(jobs))
    pool = joblib.Parallel(workers, "loky", return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
    try:
        for number, result in pool(
            joblib.delayed(_call_here)(os.getpid(), function, number, job) for number, job in list(waiting.items())
        ):
            del waiting[number]
            yield result
    except TerminatedWorkerError:
        say("a process died, and took those of its pool with it: each job that is left has a process for itself")
        yield from _compute_alone(function, waiting, workers, lost)


def _compute_alone(
    function: Callable[..., R], jobs: Mapping[int, tuple[Any, ...]], workers: int, lost: Callable[..., R]
) -> Iterator[R]:
    """Each job in a process of its own, some at a time: one that dies takes no other with it."""
    waiting, running = list(jobs.items()), dict[Future, tuple[ProcessPoolExecutor, tuple[Any, ...]]]()

    def start() -> None:
        number, job = waiting.pop(0)
        alone = ProcessPoolExecutor(1)
        running[alone.submit(_call_here, os.getpid(), function, number, job)] = alone, job

    try:
        while waiting or running:
            while waiting and len(running) < workers:
                start()
            done = next(iter(wait(running, return_when=FIRST_COMPLETED).done))
            alone, job = running.pop(done)
            try:
                result = done.result()[1]
            except TerminatedWorkerError:
                result = lost(*job)
            alone.shutdown(wait=False)
            yield result
    finally:  # whoever stops does not wait for what is under way
        for alone, _ in running.values():
            alone.shutdown(wait=False, kill_workers=True)


def _call_here(parent: int, function: Callable[..., R], number: int, job: tuple[Any, ...]) -> tuple[int, R]:
    """In a worker, which must not outlive the benchmark: one that was killed cannot end it."""
    end_with(parent)
    return number, function(*job)


def _scripts() -> bytes:
    """The modules of this folder, in a zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(Path(__file__).parent.glob("*.py")):
            # One date for all: equal files make equal archives.
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes())
    return file.getvalue()


def _call_there(scripts: bytes, parcel: bytes) -> bytes:
    """On a worker that has the installed packages and knows nothing of this folder: its modules come along.

    Imports what it needs by itself, since it travels without this module.
    """
    import pickle
    import sys
    import tempfile
    from pathlib import Path

    known, where = getattr(sys, "_pad_scripts", (None, None))
    if known != scripts:
        if where is not None:  # a worker that lives longer than one version of these modules
            sys.path.remove(where)
            for name, module in list(sys.modules.items()):
                if str(getattr(module, "__file__", None)).startswith(where):
                    del sys.modules[name]
        where = str(Path(tempfile.mkdtemp(prefix="pad-scripts-")) / "scripts.zip")
        Path(where).write_bytes(scripts)
        sys.path.insert(0, where)
        sys._pad_scripts = scripts, where  # type: ignore[attr-defined]
    function, job = pickle.loads(parcel)  # noqa: S301  # from the benchmark that started this worker's job
    return pickle.dumps(function(*job))


def _carried() -> Run:
    """`_call_there` as a function of no module, which picklers must send whole."""
    carried = types.FunctionType(_call_there.__code__, {"__builtins__": builtins}, "_call_there")
    carried.__module__ = "__main__"
    return carried


Numbered = Iterator[tuple[int, bytes | None]]
"""Of each job its number and its result; None when its process died."""


def _compute_on_dask(run: Run, parcels: Sequence[tuple[bytes, bytes]], workers: int, address: str | None) -> Numbered:
    distributed = _import("distributed", "dask")
    logging.getLogger("distributed").setLevel(logging.WARNING)
    cluster = contextlib.nullcontext(address)
    if address is None:
        cluster = distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    with cluster as where:
        try:
            client = distributed.Client(where, timeout=10)
            client.wait_for_workers(1, timeout=60)
        except (OSError, ValueError, asyncio.TimeoutError) as error:  # another one than Python's own before 3.11
            raise cli.BadInput(f"no Dask scheduler with a worker at {address}: {error}") from error
        with client:
            several = [name for name, worker in client.scheduler_info()["workers"].items() if worker["nthreads"] > 1]
            if several:
                raise cli.BadInput(f"Dask workers need one thread each (--nthreads 1), more have {', '.join(several)}")
            waiting, numbers, running = list(enumerate(parcels)), dict[str, int](), distributed.as_completed()

            def start() -> None:
                number, parcel = waiting.pop(0)
                future = client.submit(run, *parcel, pure=False)
                numbers[future.key] = number
                running.add(future)

            for _ in range(min(workers, len(parcels))):
                start()
            for future in running:
                if waiting:
                    start()
                died = isinstance(future.exception(), distributed.KilledWorker)
                yield numbers.pop(future.key), None if died else future.result()


def _compute_on_ray(run: Run, parcels: Sequence[tuple[bytes, bytes]], workers: int, address: str | None) -> Numbered:
    # Not by Ray's backend for joblib, which gives results when the last is finished: stopped, all would be lost.
    ray = _import("ray", "ray")
    if address:
        _check_answers(address)
    options = {"address": address} if address else {"num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise cli.BadInput(f"no Ray cluster at {address}: {error}") from error
    try:
        remote, waiting, running = ray.remote(num_cpus=1)(run), list(enumerate(parcels)), {}
        while waiting or running:
            while waiting and len(running) < workers:
                number, parcel = waiting.pop(0)
                running[remote.remote(*parcel)] = number
            (done,), _ = ray.wait(list(running))
            try:
                result = ray.get(done)
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError):
                result = None
            yield running.pop(done), result
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ray by itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise cli.BadInput(f"no Ray cluster at {address}: {error}; name host:port or ray://host:port") from error


def _compute_on_slurm(run: Run, parcels: Sequence[tuple[bytes, bytes]], workers: int, address: str | None) -> Numbered:
    submitit = _import("submitit", "slurm")
    local, waiting = address == "local", list(enumerate(parcels))
    running: dict[Any, int] = {}
    executor = submitit.AutoExecutor(folder=Path("runs") / "slurm", cluster="local" if local else "slurm")
    executor.update_parameters(timeout_min=24 * 60, cpus_per_task=1)
    if not local:  # one array of jobs, of which SLURM runs so many at once
        executor.update_parameters(slurm_array_parallelism=workers, **({"slurm_partition": address} if address else {}))
        submitted = executor.map_array(run, *zip(*parcels, strict=True))
        running, waiting = {job: number for number, job in enumerate(submitted)}, []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                number, parcel = waiting.pop(0)
                running[executor.submit(run, *parcel)] = number
            job = next(iter(submitit.helpers.as_completed(list(running), poll_frequency=0.5)))
            number = running.pop(job)
            try:
                result = job.result()
            except submitit.core.utils.UncompletedJobError:
                result = None
            yield number, result
    finally:
        for job in running:  # stopped: what waits in a queue would be run for nobody
            job.cancel(check=False)


def _import(name: str, engine: str) -> Any:
    try:
        return __import__(name, fromlist=["_"])
    except ImportError as error:
        raise cli.BadInput(f"engine {engine} needs more packages: pip install 'pad-rl[cluster]' ({error})") from error
