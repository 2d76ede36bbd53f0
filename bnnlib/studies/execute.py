"""Running studies: a process for each run, several side by side, resumable; a kill loses only the running epoch."""

import json
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from bnnlib import data
from bnnlib.files import replaced
from bnnlib.studies.forms import evaluate_forms
from bnnlib.studies.provenance import commit, peak_memory_mb, provenance
from bnnlib.studies.run import Run, Study
from bnnlib.studies.store import ResultsStore
from bnnlib.training import FitResult, fit

__all__ = ["RunBusy", "StudyFailed", "execute", "run_one"]

EpochCallback = Callable[[str, int, int, float], None]
RunCallback = Callable[[str, str | None], None]


class StudyFailed(RuntimeError):
    """Some runs of a study ended in an error; the message names each with its cause."""


class RunBusy(RuntimeError):
    """Another process is at the same run."""


def run_one(study: Study, run: Run, store: ResultsStore, work: Path, on_epoch: EpochCallback | None = None) -> None:
    """Trains one run, or what is left of it, and stores its results.

    Args:
        work: folder for the checkpoint while the run is unfinished.
        on_epoch: called with (run id, epoch, epochs, validation accuracy in percent).

    Raises:
        RunBusy: another process is at this run.
        ValueError: the run was begun with another number of threads, which is part of what makes it repeatable.
    """
    folder = work / study.name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f"{run.id}.lock", timeout=0):
            if run.id not in store.finished():
                _train_and_store(study, run, store, folder, on_epoch)
    except Timeout as error:
        raise RunBusy(f"another process is at run {run.id} (lock {folder / run.id}.lock)") from error


def _train_and_store(study: Study, run: Run, store: ResultsStore, folder: Path, on_epoch: EpochCallback | None) -> None:
    checkpoint, sessions_file = folder / f"{run.id}.pt", folder / f"{run.id}.json"
    commits = _commits_so_far(sessions_file if checkpoint.exists() else None)
    replaced(
        sessions_file, lambda p: p.write_text(json.dumps({"commits": commits, "threads": torch.get_num_threads()}))
    )
    splits = data.load(run.dataset, run.profile, train_size=run.train_size, test=study.test)

    def tell(record) -> None:
        if on_epoch is not None:
            on_epoch(run.id, record.epoch, run.settings.epochs, record.validation_accuracy)

    method = run.build_method()
    result = fit(run.build_model(), method, splits, run.settings, checkpoint=checkpoint, on_epoch=tell)
    begun = time.perf_counter()
    epochs = result.history.frame()
    outputs = _outputs(result, splits, run.arm in study.scores)
    forms: dict[str, float] = {}
    if study.test and method.weight_bits == 1:
        forms, predicted = evaluate_forms(result, splits, stochastic=method.stochastic, seed=run.settings.seed)
        outputs |= predicted
    described = run.describe()
    row = {
        **{key: value for key, value in described.items() if key != "settings"},
        **described["settings"],
        "reported_epoch": result.epoch,
        "validation_accuracy": epochs["validation_accuracy"][result.epoch - 1],
        "test_accuracy": epochs["test_accuracy"][result.epoch - 1] if study.test else None,
        "best_test_epoch_accuracy": epochs["test_accuracy"].max() if study.test else None,
        **forms,
        "train_seconds": round(epochs["train_seconds"].sum(), 2),
        "seconds": round(epochs["seconds"].sum() + time.perf_counter() - begun, 2),
        "peak_memory_mb": round(peak_memory_mb()),
        **provenance(result.device),
        "commit": ", ".join(commits),
    }
    keep = run.settings.seed == 0 and run.arm in study.checkpoints
    latent = {name: value.contiguous() for name, value in result.model.state_dict().items()} if keep else None
    store.add(run.id, row, epochs, outputs, latent)
    checkpoint.unlink(missing_ok=True)
    sessions_file.unlink(missing_ok=True)


def _commits_so_far(sessions_file: Path | None) -> list[str]:
    """The commits that a run was trained at, this one included."""
    if sessions_file is None or not sessions_file.exists():
        return [commit()]
    kept = json.loads(sessions_file.read_text())
    if kept["threads"] != torch.get_num_threads():
        raise ValueError(
            f"{sessions_file.stem} was begun with {kept['threads']} threads and would go on with "
            f"{torch.get_num_threads()}: give --threads {kept['threads']}, or delete {sessions_file} and its checkpoint"
        )
    return list(dict.fromkeys([*kept["commits"], commit()]))


def execute(
    study: Study,
    store: ResultsStore,
    work: Path,
    *,
    workers: int = 1,
    threads: int = 1,
    only: Iterable[str] | None = None,
    device: str = "cpu",
    on_epoch: EpochCallback | None = None,
    on_run: RunCallback | None = None,
) -> list[str]:
    """Runs what is unfinished of a study, ``workers`` runs side by side with ``threads`` threads each.

    Each run has a process of its own. Finished runs are skipped, interrupted ones go on from their checkpoint, one that
    fails does not stop the others. An interrupt ends all of them within seconds.

    Args:
        on_epoch: called with (run id, epoch, epochs, validation accuracy in percent).
        on_run: called with (run id, the error it ended in or None).

    Returns:
        The ids of the runs done now.

    Raises:
        StudyFailed: at the end, if runs failed.
        ValueError: ``only`` names a run that the study doesn't have.
    """
    by_id = {run.id: run.on(device) for run in study.runs}
    if only is not None and (unknown := set(only) - set(by_id)):
        raise ValueError(f"study {study.name} has no run {', '.join(sorted(unknown))}; known: {', '.join(by_id)}")
    wanted = set(by_id if only is None else only) - store.finished()
    todo = [run_id for run_id in by_id if run_id in wanted]
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # inherited by the workers: waiting threads must not spin
    context = multiprocessing.get_context("spawn")
    news = context.Queue()
    waiting, running = list(todo), dict[str, BaseProcess]()
    failures: dict[str, str] = {}

    def relay() -> None:
        while True:
            try:
                kind, *what = news.get(timeout=0.05)
            except queue.Empty:
                return
            if kind == "epoch" and on_epoch is not None:
                on_epoch(*what)
            elif kind == "error":
                failures[what[0]] = what[1]

    try:
        while waiting or running:
            while waiting and len(running) < workers:
                run_id = waiting.pop(0)
                running[run_id] = context.Process(
                    target=_worker, args=(study, by_id[run_id], store, work, threads, news), daemon=True
                )
                running[run_id].start()
            time.sleep(0.1)
            relay()
            for run_id, process in list(running.items()):
                if process.is_alive():
                    continue
                del running[run_id]
                relay()
                if process.exitcode != 0:
                    failures.setdefault(run_id, f"its process ended with exit code {process.exitcode}")
                if on_run is not None:
                    on_run(run_id, failures.get(run_id))
    finally:
        for process in running.values():
            process.terminate()
            process.join()
    if failures:
        told = "; ".join(f"{run_id}: {error}" for run_id, error in failures.items())
        raise StudyFailed(f"{len(failures)} of {len(todo)} runs of {study.name} failed, the others are stored. {told}")
    return todo


def _worker(study: Study, run: Run, store: ResultsStore, work: Path, threads: int, news) -> None:
    """The body of a run's process: it ends with its parent, and tells its error rather than printing it."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    commit()  # of the code that was loaded
    torch.set_num_threads(threads)
    try:
        run_one(study, run, store, work, on_epoch=lambda *what: news.put(("epoch", *what)))
    except Exception as error:
        news.put(("error", run.id, f"{type(error).__name__}: {error}"))
        raise SystemExit(1) from error


def _outputs(result: FitResult, splits: data.ImageSplits, with_scores: bool) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for name, images, scored in (
        ("validation", splits.validation, result.validation_scores),
        ("test", splits.test, result.test_scores),
    ):
        if scored is None:
            continue
        arrays[f"{name}_ids"] = images.ids.numpy().astype(np.int32)
        arrays[f"{name}_labels"] = images.labels.numpy().astype(np.uint8)
        arrays[f"{name}_predicted"] = scored.argmax(1).numpy().astype(np.uint8)
        if with_scores:
            arrays[f"{name}_scores"] = scored.numpy().astype(np.float16)
    for layer, rows in result.history.histograms.items():
        arrays[f"histogram/{layer}"] = np.array(rows, np.int32)
    return arrays
