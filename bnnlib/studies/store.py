"""Results on disk: plain files, a folder for each study, whole or absent but never half.

    runs.csv          a row for each finished run: its description, its figures, where and when it was made
    epochs.csv        a row for each epoch of each finished run
    outputs/ID.npz    what the run predicted, its weight histograms
    latent/ID.safetensors   trained latent weights of a few runs

A run counts as finished when its row stands in runs.csv; that row is written last. Each file is written beside itself
and moved into place, under a lock, so that several processes may add runs and a kill leaves the old content.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from bnnlib.files import replaced

__all__ = ["ResultsStore"]


class ResultsStore:
    """The results of one study below a folder.

    Args:
        folder: where they are, or will be.
        only: run ids to read; rows of other ids (of settings that the study no longer has) are left out.
    """

    def __init__(self, folder: Path, only: Iterable[str] | None = None):
        self.folder = Path(folder)
        self.only = None if only is None else frozenset(only)
        self.runs_file = self.folder / "runs.csv"
        self.epochs_file = self.folder / "epochs.csv"

    def outputs_file(self, run_id: str) -> Path:
        return self.folder / "outputs" / f"{run_id}.npz"

    def latent_file(self, run_id: str) -> Path:
        return self.folder / "latent" / f"{run_id}.safetensors"

    def runs(self) -> pd.DataFrame:
        """The finished runs, a row each, indexed by run id; empty before the first."""
        frame = _read(self.runs_file).set_index("run") if self.runs_file.exists() else pd.DataFrame()
        return frame if self.only is None or not len(frame) else frame[frame.index.isin(self.only)]

    def epochs(self) -> pd.DataFrame:
        """The epochs of the finished runs, with the column ``run``."""
        frame = _read(self.epochs_file) if self.epochs_file.exists() else pd.DataFrame()
        return frame[frame["run"].isin(self.runs().index)].reset_index(drop=True) if len(frame) else frame

    def outputs(self, run_id: str) -> dict[str, np.ndarray]:
        """The arrays kept of one run."""
        with np.load(self.outputs_file(run_id), allow_pickle=False) as file:
            return dict(file)

    def finished(self) -> set[str]:
        """Ids of the finished runs."""
        return set(self.runs().index)

    def add(
        self,
        run_id: str,
        row: Mapping[str, Any],
        epochs: pd.DataFrame,
        outputs: Mapping[str, np.ndarray],
        latent: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds a finished run; adding it again replaces it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):

            def write_outputs(partial: Path) -> None:
                with partial.open("wb") as file:
                    np.savez_compressed(file, **outputs)

            replaced(self.outputs_file(run_id), write_outputs)
            if latent is not None:
                from safetensors.torch import save_file

                replaced(self.latent_file(run_id), lambda partial: save_file(dict(latent), partial))
            epochs = epochs.copy()
            epochs.insert(0, "run", run_id)
            self._append(self.epochs_file, epochs, run_id)
            plain = {k: json.dumps(v, sort_keys=True) if isinstance(v, dict) else v for k, v in row.items()}
            self._append(self.runs_file, pd.DataFrame([{"run": run_id, **plain}]), run_id)

    def _append(self, path: Path, rows: pd.DataFrame, run_id: str) -> None:
        if path.exists():
            old = _read(path)
            rows = pd.concat([old[old["run"] != run_id].astype(object), rows.astype(object)], ignore_index=True)
        replaced(path, lambda partial: rows.to_csv(partial, index=False, lineterminator="\n"))


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype={"run": str, "arm": str, "commit": str})
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(
            f"{path} is not a whole table of results ({error}); restore it from version control"
        ) from error
