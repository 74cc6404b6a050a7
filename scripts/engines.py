"""Where a benchmark's cells are computed: here, or on a user's cluster. Results come as they are finished."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import cli
import joblib

Engine = Literal["local", "dask", "ray", "slurm"]
R = TypeVar("R")


def compute(
    function: Callable[..., R], jobs: Sequence[tuple[Any, ...]], engine: Engine, workers: int, address: str | None
) -> Iterator[R]:
    """`function(*job)` of each job, in whatever order they are finished.

    Args:
        workers: processes, here; on a cluster jobs that are under way at once.
        address: of a Dask scheduler or a Ray head, or a SLURM partition; None starts Dask or Ray here. For SLURM
            "local" runs its jobs on this machine, to try the set-up.

    Raises:
        BadInput: when an engine's package is not installed, or nothing answers at the address.
    """
    if not jobs:
        return
    if engine == "slurm":
        yield from _submit(function, jobs, workers, address)
        return
    if engine == "local" and min(workers, len(jobs)) == 1:
        for job in jobs:
            yield function(*job)
        return
    with _backend(engine, workers, address):
        pool = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
        yield from pool(joblib.delayed(function)(*job) for job in jobs)


@contextlib.contextmanager
def _backend(engine: Engine, workers: int, address: str | None) -> Iterator[None]:
    if engine == "local":
        with joblib.parallel_config("loky"):
            yield
    elif engine == "dask":
        with _dask(workers, address):
            yield
    else:
        with _ray(workers, address):
            yield


@contextlib.contextmanager
def _dask(workers: int, address: str | None) -> Iterator[None]:
    distributed = _import("distributed", "dask")
    cluster = contextlib.nullcontext(address)
    if address is None:
        cluster = distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    with cluster as where:
        try:
            client = distributed.Client(where, timeout=10)
        except (OSError, ValueError) as error:
            raise cli.BadInput(f"no Dask scheduler at {address}: {error}") from error
        with client, _sent_whole():
            client.wait_for_workers(1)
            with joblib.parallel_config("dask"):
                yield


@contextlib.contextmanager
def _ray(workers: int, address: str | None) -> Iterator[None]:
    ray, register = _import("ray", "ray"), _import("ray.util.joblib", "ray")
    try:
        options = {"address": address} if address else {"num_cpus": workers, "include_dashboard": False}
        ray.init(log_to_driver=False, ignore_reinit_error=True, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise cli.BadInput(f"no Ray cluster at {address}: {error}") from error
    register.register_ray()
    try:
        with _sent_whole(), joblib.parallel_config("ray"):
            yield
    finally:
        ray.shutdown()


def _submit(
    function: Callable[..., R], jobs: Sequence[tuple[Any, ...]], workers: int, address: str | None
) -> Iterator[R]:
    submitit = _import("submitit", "slurm")
    local = address == "local"
    executor = submitit.AutoExecutor(folder=Path("runs") / "slurm", cluster="local" if local else "slurm")
    executor.update_parameters(timeout_min=24 * 60, cpus_per_task=1)
    if not local:
        executor.update_parameters(slurm_array_parallelism=workers, **({"slurm_partition": address} if address else {}))
    waiting, running = list(jobs), []
    with _sent_whole():
        if not local:
            running, waiting = executor.map_array(function, *zip(*waiting, strict=True)), []
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(executor.submit(function, *waiting.pop(0)))
            job = next(iter(submitit.helpers.as_completed(running, poll_frequency=0.5)))
            running.remove(job)
            yield job.result()


@contextlib.contextmanager
def _sent_whole() -> Iterator[None]:
    """Workers elsewhere have the installed packages but not this folder: its modules travel with the jobs."""
    import cloudpickle

    here = Path(__file__).parent
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name != "__main__" and (file := getattr(module, "__file__", None)) and Path(file).parent == here
    ]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _import(name: str, engine: str) -> Any:
    try:
        return __import__(name, fromlist=["_"])
    except ImportError as error:
        raise cli.BadInput(f"engine {engine} needs more packages: pip install 'pad-rl[cluster]' ({error})") from error
