"""Running studies: Dask hands runs to workers, on this machine or on a cluster; a kill loses only the running epoch.

:func:`execute` hands out the runs of a study in an order in which each finds what it needs, and hands out again what a
worker that died has left: its checkpoint lies in the work folder, which all workers share.
"""

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

import torch

from bnnlib import data
from bnnlib.files import probe, sweep
from bnnlib.provenance import commit
from bnnlib.studies.run import Run, Study
from bnnlib.studies.run_one import EpochCallback, RunBusy, in_order, run_one, unfinished
from bnnlib.studies.store import ResultsStore

__all__ = ["StudyFailed", "execute"]

RunCallback = Callable[[str, str | None], None]
POLL_SECONDS = 0.25  # between looks at what workers have done: each costs some milliseconds
BUSY_SECONDS = 5.0  # after which a run that another process is at is asked for again
TOPIC = "bnnlib-epochs"
# Waiting threads must not spin. Memory that a step frees, the next one needs again: glibc should keep it, because
# asking the system anew costs a page fault for each 4 kB.
WORKER_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**30)}


class StudyFailed(RuntimeError):
    """Some runs of a study ended in an error; the message names each with its cause."""


def execute(
    study: Study,
    store: ResultsStore,
    work: Path,
    *,
    workers: int = 1,
    threads: int = 1,
    only: Iterable[str] | None = None,
    device: str | None = None,
    scheduler: str | None = None,
    module: Path | None = None,
    on_epoch: EpochCallback | None = None,
    on_run: RunCallback | None = None,
    on_cluster: Callable[[str], None] | None = None,
) -> list[str]:
    """Runs what is unfinished of a study on Dask workers.

    Finished runs are skipped, interrupted ones go on from their checkpoint, one that fails does not stop the others,
    one whose worker dies is handed out again. Another process may run the same study at the same time: each run is
    done once. An interrupt ends the workers of this machine within seconds, those of another scheduler after the
    epoch that they are in.

    Args:
        study: what to run.
        store: where results go.
        work: folder for checkpoints, and for weights that other runs need.
        workers: processes on this machine, each with a run of its own; not used with ``scheduler``.
        threads: of each run; part of what makes it repeatable.
        only: ids of the runs to do (and what they need); all by default.
        device: where all of them are trained; by default where each one's settings say.
        scheduler: the address of a running Dask scheduler whose workers share ``store`` and ``work`` with this process.
        module: a Python file that workers import before the first run, for data sets and models of one's own.
        on_epoch: called with (run id, epoch, epochs, validation accuracy in percent).
        on_run: called with (run id, the error it ended in or None).
        on_cluster: called with the address of the cluster's dashboard.

    Returns:
        The ids of the runs done now.

    Raises:
        StudyFailed: at the end, if runs failed.
        ValueError: ``only`` names a run that the study doesn't have; a stored result is damaged.
        DataNotFound, OSError: before the first run, if its data is not there or its folders cannot be written.
    """
    work, only = Path(work).absolute(), None if only is None else set(only)
    by_id = {run.id: run if device is None else run.on(device) for run in in_order(study)}
    if only is not None and (unknown := only - set(by_id)):
        raise ValueError(f"study {study.name} has no run {', '.join(sorted(unknown))}; known: {', '.join(by_id)}")
    for run_id in store.finished():
        store.run(run_id)  # or it is damaged
    todo = unfinished(study, store, work, only)
    if not todo:
        return []
    for folder in (store.folder, work / study.name):
        probe(folder)
        sweep(folder)
    store = ResultsStore(store.folder.absolute(), store.only)
    stop = work / study.name / f".stop-{uuid.uuid4().hex}.partial"  # swept later, as any other partial file
    news: SimpleQueue[tuple] = SimpleQueue()
    failures: dict[str, str] = {}
    done: list[str] = []
    asleep: dict[str, float] = {}  # runs that another process is at, and until when they are left alone

    def told() -> None:
        """Passes on the epochs that workers have told."""
        while not news.empty():
            run_id, *figures = news.get()
            if on_epoch is not None and run_id in by_id:  # another study may share the scheduler
                on_epoch(run_id, *figures)

    def ended(run_id: str, error: str | None) -> None:
        if error is not None:
            failures[run_id] = error
        told()
        if on_run is not None:
            on_run(run_id, error)

    with _client(scheduler, min(workers, len(todo))) as client, _stopping(stop):
        if on_cluster is not None:
            alone = "" if client.nthreads() else f" (no worker is connected yet: dask worker {scheduler} --nthreads 1)"
            on_cluster(client.dashboard_link + alone)
        if module is not None:
            client.upload_file(str(module))
        client.subscribe_topic(TOPIC, lambda event: news.put(event[1]))
        client.submit(_ready, study, [by_id[run_id] for run_id in todo], store, work, pure=False).result()
        waiting, running = list(todo), {}
        while waiting or running:
            slots = max(1, sum(client.nthreads().values()))
            for run_id in list(waiting):
                needs = {needed.id for needed in by_id[run_id].needs}
                if failed := needs & set(failures):
                    waiting.remove(run_id)
                    ended(run_id, f"it needs {', '.join(sorted(failed))}, which failed")
                    continue
                ready = not needs & {*waiting, *running} and asleep.get(run_id, 0) <= time.monotonic()
                # no more than there are workers: one that dies would be blamed for what is queued on it, too
                if ready and len(running) < slots:
                    waiting.remove(run_id)
                    task = (study, by_id[run_id], store, work, threads, stop)
                    running[run_id] = client.submit(_on_worker, *task, pure=False, key=f"{run_id}-{time.time()}")
            time.sleep(POLL_SECONDS)
            told()
            for run_id, future in [each for each in running.items() if each[1].done()]:
                del running[run_id]
                error = future.exception() if future.status == "error" else None
                if isinstance(error, RunBusy):  # in the end the other process has done it
                    waiting.append(run_id)
                    asleep[run_id] = time.monotonic() + BUSY_SECONDS
                elif error is not None or future.status != "finished":
                    ended(run_id, f"{type(error).__name__}: {error}" if error else f"its task was {future.status}")
                else:
                    if future.result():
                        done.append(run_id)
                    ended(run_id, None)
    if failures:
        each = "; ".join(f"{run_id}: {error}" for run_id, error in failures.items())
        raise StudyFailed(f"{len(failures)} of {len(todo)} runs of {study.name} failed, the others are stored. {each}")
    return done


@contextmanager
def _stopping(stop: Path) -> Iterator[None]:
    """Leaves the file that tells workers to stop if the context is left by an interrupt."""
    try:
        yield
    except KeyboardInterrupt:
        stop.touch()
        raise


@contextmanager
def _client(scheduler: str | None, workers: int) -> Iterator:
    """A client of the scheduler at that address, or of a new cluster of processes on this machine."""
    import dask
    from distributed import Client, LocalCluster

    # What Dask sets for its workers would hold for one thread only, and give memory back as soon as it is free.
    environment = {**WORKER_ENVIRONMENT, **{n: os.environ[n] for n in WORKER_ENVIRONMENT if n in os.environ}}
    settings = {
        "distributed.nanny.pre-spawn-environ": environment,
        # A worker that died is started again. Dask gives it up if that takes longer than this, 15 seconds by default:
        # on a busy machine it does, and with the last worker given up the study would wait for ever.
        "distributed.deploy.lost-worker-timeout": "1 day",
    }
    with dask.config.set(settings):
        if scheduler is not None:
            try:
                client = Client(scheduler, timeout="15s", set_as_default=False)
            except (OSError, ValueError) as error:
                raise OSError(f"no Dask scheduler answers at {scheduler} ({error})") from error
            with client:
                yield client
            return
        with (
            TemporaryDirectory(prefix="bnnlib-dask-") as scratch,
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                memory_limit=0,
                local_directory=scratch,
                silence_logs=logging.CRITICAL,  # a run that fails is told by its error
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client


def _ready(study: Study, runs: list[Run], store: ResultsStore, work: Path) -> None:
    """On a worker, before the first run: can results be written, networks be built, and is the data there?"""
    commit()  # of the code that was loaded
    for folder in (store.folder, work / study.name):
        probe(folder)
    wanted = {(run.dataset, run.profile, repr(sorted(run.data_options.items()))): run for run in runs}
    for run in {(run.model, run.method, repr(run.model_options)): run for run in runs}.values():
        run.build_model()
    for run in wanted.values():
        data.load(run.dataset, run.profile, test=study.test, **run.data_options)


_ONE_AT_A_TIME = threading.Lock()  # torch's generator and thread count are the process's


class _Stopped(RuntimeError):
    """The process that asked for the runs was interrupted."""


def _on_worker(study: Study, run: Run, store: ResultsStore, work: Path, threads: int, stop: Path) -> bool:
    """The body of a task; True if it did the run, False if it found it finished."""
    from distributed import get_worker

    worker = get_worker()

    def tell(*figures) -> None:
        worker.log_event(TOPIC, figures)
        if stop.exists():
            raise _Stopped("the study was interrupted")

    with _ONE_AT_A_TIME:
        before = run.id in unfinished(study, store, work)
        torch.set_num_threads(threads)
        run_one(study, run, store, work, on_epoch=tell)
    return before
