"""Methods beside each other: accuracy over seeds, bytes, operations and the cost of a training step, a row each."""

from pathlib import Path

import pandas as pd

from bnnlib import catalogue, models
from bnnlib.packed.summary import summary
from bnnlib.studies.registry import find, own_results, results_folder, store_of
from bnnlib.studies.run import Run

__all__ = ["COLUMNS", "comparison"]

COLUMNS = {
    "widths": "bits of weights and activations: W1A32, W1A1, W2A2",
    "seeds": "trainings",
    "accuracy": "mean test accuracy in percent",
    "± 95 %": "half-width of its interval over seeds; NaN for three seeds or fewer",
    "least": "smallest of the seeds, in percent",
    "most": "largest of the seeds, in percent",
    "bytes": "of the packed network",
    "1-bit MACs": "multiply-accumulates of one input on bits",
    "2-bit MACs": "multiply-accumulates of one input on codes of two bits",
    "real MACs": "multiply-accumulates of one input with a real number in them",
    "step": "time of a training step, float's being 1; NaN where it was not measured",
    "processor": "on which",
}


def comparison(study: str = "ideas", folder: Path | None = None) -> pd.DataFrame:
    """The methods of a study whose runs differ in their method (and seed) only.

    Args:
        study: its name, or a Python file that defines ``STUDY``. Arms without a finished run are left out.
        folder: where results lie, bench tables included; the course's own by default, of a study file ``./results``.

    Returns:
        A row for each arm, in the study's order, grouped by activation width; see :data:`COLUMNS`.
    """
    from bnnlib.report import summarise  # here: a worker needs no plots, which take seconds to import

    described, module = find(study)
    folder = folder or own_results(module) or results_folder()
    runs = store_of(described, folder).runs()
    if not len(runs):
        return pd.DataFrame(columns=list(COLUMNS))
    table = summarise(runs).rename(columns={"mean": "accuracy"})
    first = {run.arm: run for run in reversed(described.runs)}
    rows = []
    for arm in table.index:
        run = first[arm]
        method = run.build_method()
        counted = summary(run.build_model(), models.MODELS[run.model].input_shape)
        rows.append(
            {
                "widths": method.widths,
                "bytes": counted.bytes,
                "1-bit MACs": counted.macs(1),
                "2-bit MACs": counted.macs(2),
                "real MACs": counted.macs(32),
                **_step(folder / "bench", described.name, run),
            }
        )
    table = table.join(pd.DataFrame(rows, index=table.index))
    order = sorted(table.index, key=lambda arm: -catalogue.get(first[arm].method).activation_bits)
    return table.loc[order, list(COLUMNS)]


def _step(tables: Path, study: str, run: Run) -> dict[str, float | str | None]:
    """The measured ratio of a training step, of the table's last processor.

    It is that of the study's own arms if these were timed, else that of the model under the method as it is.
    """
    own, of_model = tables / f"arms-{study}.csv", tables / f"steps-{run.model}.csv"
    rows = pd.DataFrame()
    if own.exists():
        rows = pd.read_csv(own).query("arm == @run.arm")
    elif of_model.exists() and not set(run.method_options) - {"loss"}:
        rows = pd.read_csv(of_model).query("what == 'training' and method == @run.method")
    if not len(rows):
        return {"step": None, "processor": None}
    return {"step": rows["ratio"].iloc[-1], "processor": rows["processor"].iloc[-1]}
