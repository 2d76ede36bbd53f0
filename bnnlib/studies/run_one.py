"""One run of a study, from its description to stored results, wherever it is called."""

import time
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file

from bnnlib import data
from bnnlib.layers import quantized_layers
from bnnlib.provenance import PeakMemory, provenance
from bnnlib.studies.forms import evaluate_forms
from bnnlib.studies.run import Run, Study
from bnnlib.studies.store import ResultsStore, save_weights
from bnnlib.training import FitResult, Observer, fit, scores, start_from
from bnnlib.training.history import EpochRecord
from bnnlib.training.measurements import COLUMNS

__all__ = ["EpochCallback", "RunBusy", "in_order", "run_one", "unfinished"]

EpochCallback = Callable[[str, int, int, float], None]


class RunBusy(RuntimeError):
    """Another process is at the same run."""


class _Epochs(Observer):
    """Passes the epochs of a run on."""

    def __init__(self, run: Run, on_epoch: EpochCallback):
        self._run, self._on_epoch = run, on_epoch

    def epoch(self, record: EpochRecord) -> None:
        self._on_epoch(self._run.id, record.epoch, self._run.settings.epochs, record.validation_accuracy)


def run_one(study: Study, run: Run, store: ResultsStore, work: Path, on_epoch: EpochCallback | None = None) -> None:
    """Trains one run, or what is left of it, and stores its results. A finished run is left as it is.

    Args:
        study: to which the run belongs.
        run: what to train.
        store: where its results go.
        work: folder for the checkpoint while the run is unfinished, and for the weights that other runs need.
        on_epoch: called with (run id, epoch, epochs, validation accuracy in percent).

    Raises:
        RunBusy: another process is at this run.
        ValueError: the run was begun with another number of threads, or what it needs is not finished.
    """
    work = Path(work)
    folder = work / study.name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f"{run.id}.lock", timeout=0):
            if run.id in unfinished(study, store, work):
                _train_and_store(study, run, store, folder, on_epoch)
    except Timeout as error:
        raise RunBusy(f"another process is at run {run.id} (lock {folder / run.id}.lock)") from error


def unfinished(study: Study, store: ResultsStore, work: Path, only: Iterable[str] | None = None) -> list[str]:
    """Ids of the runs still to do, each after those that it needs.

    Those without results, and those whose weights they need: weights are not part of the results, so where the work
    folder was lost, a run is repeated for them.

    Args:
        study, store, work: as for :func:`run_one`.
        only: of those only these and what they need; all by default.
    """
    finished, folder = set(store.finished()), Path(work) / study.name
    chosen = {run.id for run in study.runs if run.id not in finished and (only is None or run.id in only)}
    ordered = in_order(study)
    for run in reversed(ordered):
        if run.id in chosen:
            chosen |= {needed.id for needed in run.needs if _weights(store, folder, needed) is None}
    return [run.id for run in ordered if run.id in chosen]


def in_order(study: Study) -> list[Run]:
    """The runs, each after those that it needs."""
    ordered: dict[str, Run] = {}

    def visit(run: Run) -> None:
        for needed in run.needs:
            visit(needed)
        ordered.setdefault(run.id, run)

    for run in study.runs:
        visit(run)
    return list(ordered.values())


def _weights(store: ResultsStore, folder: Path, run: Run) -> Path | None:
    """Where the trained weights of a run are, if they are kept."""
    candidates = (folder / "weights" / f"{run.id}.safetensors", store.latent_file(run.id))
    return next((path for path in candidates if path.exists()), None)


def _trained(store: ResultsStore, folder: Path, run: Run) -> torch.nn.Module:
    """The trained network of a finished run."""
    path = _weights(store, folder, run)
    if path is None:
        raise ValueError(f"the weights of run {run.id} are not there yet: run it first")
    model = run.build_model()
    model.load_state_dict(load_file(path))
    return model


def _train_and_store(study: Study, run: Run, store: ResultsStore, folder: Path, on_epoch: EpochCallback | None) -> None:
    checkpoint = folder / f"{run.id}.pt"
    splits = data.load(run.dataset, run.profile, test=study.test, **run.data_options)
    method, model = run.build_method(), run.build_model()
    if run.start is not None:
        start_from(model, _trained(store, folder, run.start))
    teacher = None if run.teacher is None else _trained(store, folder, run.teacher)
    observers = [] if on_epoch is None else [_Epochs(run, on_epoch)]
    try:
        with PeakMemory() as memory:
            result = fit(
                model, method, splits, run.settings, teacher=teacher, checkpoint=checkpoint, observers=observers
            )
    except FloatingPointError:
        if not study.divergence:
            raise
        store.add(run.id, _diverged(run), {})
        checkpoint.unlink(missing_ok=True)
        return
    begun = time.perf_counter()
    epochs = result.history.frame()
    outputs = _outputs(result, splits, run.arm in study.scores)
    if study.test:  # a tuning keeps what it predicted only: there are many of its runs, and nobody looks inside them
        outputs |= _inside(result)
    forms: dict[str, float] = {}
    if study.test and method.weight_bits == 1:
        result.model.to(result.device)
        forms, predicted = evaluate_forms(result, splits, stochastic=method.stochastic, seed=run.settings.seed)
        result.model.cpu()
        outputs |= predicted
    reported = result.history.epochs[result.epoch - 1]
    tested = epochs["test_accuracy"]
    figures = {
        "reported_epoch": result.epoch,
        "validation_accuracy": reported.validation_accuracy,
        "validation_balanced_accuracy": reported.validation_balanced_accuracy,
        "test_accuracy": reported.test_accuracy,
        "test_balanced_accuracy": reported.test_balanced_accuracy,
        "best_test_epoch_accuracy": float(tested.max()) if tested.notna().all() else None,
        **forms,
        "train_seconds": round(float(epochs["train_seconds"].sum()), 2),
        "seconds": round(float(epochs["seconds"].sum()) + time.perf_counter() - begun, 2),
        "peak_memory_mb": round(memory.mb),
    }
    parts = {
        **_described(run),
        "figures": figures,
        "epochs": {name: [None if v != v else v for v in epochs[name].tolist()] for name in epochs.columns},
        "provenance": _over_sessions(result.sessions) | {"data": splits.description},  # CIFAR-10 has two sources
    }
    state = result.model.state_dict()
    if run.id in study.needed:
        save_weights(folder / "weights" / f"{run.id}.safetensors", state)
    if run.id not in store.finished():  # a run repeated for its weights keeps its results
        keep = run.settings.seed == 0 and run.arm in study.checkpoints
        store.add(run.id, parts, outputs, state if keep else None)
    checkpoint.unlink(missing_ok=True)


def _described(run: Run) -> dict:
    settings = {name: value for name, value in vars(run.settings).items() if name != "device"}
    return {"description": run.describe(), "settings": settings}


def _diverged(run: Run) -> dict:
    """What is kept of a run whose loss is no longer finite: that it is so. A network without figures has none."""
    names = [each.name for each in fields(EpochRecord)]
    empty = {name: [None] * run.settings.epochs for name in names}
    return {
        **_described(run),
        "figures": {"diverged": 1},
        "epochs": {**empty, "epoch": list(range(1, run.settings.epochs + 1))},
        "provenance": provenance(run.settings.device),
    }


def _over_sessions(sessions: list[dict]) -> dict:
    """The circumstances of a run; where sessions differ (commit, processor), each value once."""
    kept = {}
    for name, last in sessions[-1].items():
        values = list(dict.fromkeys(session[name] for session in sessions))
        kept[name] = last if len(values) == 1 or name == "date" else "; ".join(map(str, values))
    return kept


def _narrow(numbers: np.ndarray) -> np.ndarray:
    """Whole numbers in 32 bits where they fit, else in 64: an id is a position, or a hash of a name."""
    within = np.iinfo(np.int32)
    fits = within.min <= numbers.min() and numbers.max() <= within.max
    return numbers.astype(np.int32 if fits else np.int64)


def _outputs(result: FitResult, splits: data.Splits, with_scores: bool) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    judged = [("validation", splits.validation, result.validation_scores), ("test", splits.test, result.test_scores)]
    judged += [(f"extra/{name}", split, scores(result.model, split)) for name, split in splits.extra.items()]
    for name, split, scored in judged:
        if scored is None:
            continue
        arrays[f"{name}_ids"] = _narrow(split.ids.numpy())
        if split.groups is not None:
            arrays[f"{name}_groups"] = _narrow(split.groups.numpy())
        arrays[f"{name}_labels"] = split.labels.numpy().astype(np.uint8)
        arrays[f"{name}_predicted"] = scored.argmax(1).numpy().astype(np.uint8)
        if with_scores:
            arrays[f"{name}_scores"] = scored.numpy().astype(np.float16)
    return arrays


def _inside(result: FitResult) -> dict[str, np.ndarray]:
    """Histograms of the latent weights over the epochs, what was measured inside the layers, IE-Net's branches."""
    arrays: dict[str, np.ndarray] = {}
    for layer, module in quantized_layers(result.model):
        if hasattr(module, "mix"):
            arrays[f"shift/{layer}"] = module.shift.detach().cpu().numpy()
            arrays[f"mix/{layer}"] = module.mix.detach().cpu().numpy()
    for layer, rows in result.history.histograms.items():
        arrays[f"histogram/{layer}"] = np.array(rows, np.int32)
    inside = result.history.layer_frame()
    for layer, rows in inside.groupby("layer", sort=False) if len(inside) else ():
        arrays[f"inside/{layer}"] = rows[list(COLUMNS)].to_numpy(np.float32)
    return arrays
