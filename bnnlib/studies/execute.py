"""Running studies: several runs side by side, each resumable, nothing lost to a kill but the running epoch."""

import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.managers import SyncManager
from pathlib import Path

import numpy as np
import torch

from bnnlib import data
from bnnlib.studies.forms import evaluate_forms
from bnnlib.studies.provenance import commit, peak_memory_mb, provenance
from bnnlib.studies.run import Run, Study
from bnnlib.studies.store import ResultsStore
from bnnlib.training import FitResult, fit

__all__ = ["StudyFailed", "execute", "run_one"]


EpochCallback = Callable[[str, int, int, float], None]
RunCallback = Callable[[str, BaseException | None], None]


class StudyFailed(RuntimeError):
    """Some runs of a study ended in an error; the message names each with its cause."""


def run_one(study: Study, run: Run, store: ResultsStore, work: Path, on_epoch: EpochCallback | None = None) -> None:
    """Trains one run, or what is left of it, and stores its results.

    Args:
        work: folder for the checkpoint while the run is unfinished.
        on_epoch: called with (run id, epoch, epochs, validation accuracy in percent).
    """
    begun = time.time()
    splits = data.load(run.dataset, run.profile, train_size=run.train_size, test=study.test)
    checkpoint = work / study.name / f"{run.id}.pt"

    def tell(record) -> None:
        if on_epoch is not None:
            on_epoch(run.id, record.epoch, run.settings.epochs, record.validation_accuracy)

    model = run.build_model()
    method = run.build_method()
    result = fit(model, method, splits, run.settings, checkpoint=checkpoint, on_epoch=tell)
    epochs = result.history.frame()
    described = run.describe()
    settings = described.pop("settings")
    outputs = _outputs(result, splits, run.arm in study.scores)
    forms: dict[str, float] = {}
    if study.test and method.weight_bits == 1:
        forms, predicted = evaluate_forms(result, splits, stochastic=method.stochastic, seed=run.settings.seed)
        outputs |= predicted
    row = {
        **described,
        **settings,
        "reported_epoch": result.epoch,
        "validation_accuracy": epochs["validation_accuracy"][result.epoch - 1],
        "test_accuracy": epochs["test_accuracy"][result.epoch - 1] if study.test else None,
        "best_test_epoch_accuracy": epochs["test_accuracy"].max() if study.test else None,
        **forms,
        "train_seconds": round(epochs["train_seconds"].sum(), 1),
        "seconds": round(time.time() - begun, 1),
        "peak_memory_mb": round(peak_memory_mb()),
        **provenance(run.settings.device),
    }
    keep = run.settings.seed == 0 and run.arm in study.checkpoints
    latent = {name: value.contiguous() for name, value in result.model.state_dict().items()} if keep else None
    store.add(run.id, row, epochs, outputs, latent)
    checkpoint.unlink(missing_ok=True)


def execute(
    study: Study,
    store: ResultsStore,
    work: Path,
    *,
    workers: int = 1,
    threads: int = 1,
    only: Iterable[str] | None = None,
    device: str = "auto",
    on_epoch: EpochCallback | None = None,
    on_run: RunCallback | None = None,
) -> list[str]:
    """Runs what is unfinished of a study, ``workers`` runs side by side with ``threads`` threads each.

    Returns the ids of the runs done now. Finished ones are skipped, interrupted ones go on from their checkpoint. A run
    that fails does not stop the others.

    Args:
        on_epoch: called with (run id, epoch, epochs, validation accuracy in percent).
        on_run: called with (run id, the error it ended in or None).

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
    processes = ProcessPoolExecutor(workers, mp_context=context, initializer=_die_with_parent)
    manager = SyncManager(ctx=context)
    manager.start(initializer=_die_with_parent)
    with manager, processes as pool:
        news = manager.Queue()
        futures = {pool.submit(_worker, study, by_id[run_id], store, work, threads, news): run_id for run_id in todo}
        pending = set(futures)
        failures: dict[str, BaseException] = {}
        try:
            while pending:
                _relay(news, on_epoch)
                for future in [f for f in pending if f.done()]:
                    pending.remove(future)
                    _relay(news, on_epoch)
                    if (error := future.exception()) is not None:
                        failures[futures[future]] = error
                    if on_run is not None:
                        on_run(futures[future], error)
                time.sleep(0.2)
        except BaseException:
            for future in pending:
                future.cancel()
            raise
    if failures:
        told = "; ".join(f"{run_id}: {type(error).__name__}: {error}" for run_id, error in failures.items())
        raise StudyFailed(f"{len(failures)} of {len(todo)} runs of {study.name} failed, the others are stored. {told}")
    return todo


def _die_with_parent() -> None:
    """Ends a worker when the process that started it is gone: a killed study must not train on unseen."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _worker(study: Study, run: Run, store: ResultsStore, work: Path, threads: int, news) -> None:
    commit()  # of the code that was loaded
    torch.set_num_threads(threads)
    run_one(study, run, store, work, on_epoch=lambda *what: news.put(what))


def _relay(news, on_epoch: EpochCallback | None) -> None:
    while True:
        try:
            what = news.get_nowait()
        except queue.Empty:
            return
        if on_epoch is not None:
            on_epoch(*what)


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
