"""Results on disk: plain files, a folder for each study, whole or absent but never half.

    runs/ID.json            a finished run: its description, settings, figures, epochs, where and when it was made
    outputs/ID.npz.xz       what the run predicted; not of a tuning: its weight histograms, what was measured inside
    samples/DIGEST.npz.xz   ids, labels, groups of the samples that it was judged on: once for all runs that share them
    latent/ID.safetensors   trained latent weights of a few runs

A file for each run: many workers may write at once, on a network file system too. A run counts as finished when its
JSON is there, which is written last. Reading collates the files and trusts none of them: what is damaged, half written,
copied or edited is refused by name. Arrays are compressed as one piece: dozens of small ones, each compressed by itself
(``savez_compressed``), take twice the space.
"""

import hashlib
import io
import json
import lzma
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bnnlib.files import Damaged, replaced
from bnnlib.studies.run import digest_of

__all__ = ["PARTS", "ResultsStore"]

# of a run's JSON: what its id is made of; every setting, defaults too; what came out; epoch by epoch; where and when
PARTS = ("description", "settings", "figures", "epochs", "provenance")
# Outputs named so are the same for every run that is judged on the same samples.
OF_SAMPLES = ("_ids", "_labels", "_groups")


class ResultsStore:
    """The results of one study below a folder.

    Args:
        folder: where they are, or will be.
        only: run ids to read, in this order; other runs (of settings that the study no longer has) are left out.
    """

    def __init__(self, folder: Path, only: Iterable[str] | None = None):
        self.folder = Path(folder)
        self.only = None if only is None else tuple(only)

    def run_file(self, run_id: str) -> Path:
        return self.folder / "runs" / f"{run_id}.json"

    def outputs_file(self, run_id: str) -> Path:
        return self.folder / "outputs" / f"{run_id}.npz.xz"

    def latent_file(self, run_id: str) -> Path:
        return self.folder / "latent" / f"{run_id}.safetensors"

    def finished(self) -> list[str]:
        """Ids of the finished runs, in the study's order (alphabetical if it is not known)."""
        there = {path.stem for path in (self.folder / "runs").glob("*.json")}
        return sorted(there) if self.only is None else [run_id for run_id in self.only if run_id in there]

    def run(self, run_id: str) -> dict[str, Any]:
        """A finished run, as its file has it: by the names of :data:`PARTS`.

        Raises:
            Damaged: the file is not whole, not of this run, or its description does not fit its id.
        """
        path = self.run_file(run_id)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, UnicodeDecodeError) as error:
            raise Damaged(
                f"{path} is not a whole result ({error}): restore it from version control, or delete it to run it again"
            ) from error
        if not isinstance(kept, dict) or set(kept) != {"run", *PARTS, "digest"}:
            raise Damaged(
                f"{path} must hold run, {', '.join(PARTS)} and digest; restore it from version control, or delete it"
            )
        if kept.pop("digest") != digest_of(kept):
            raise Damaged(f"{path} was edited: its content does not fit its digest; restore it from version control")
        digest = digest_of(kept["description"])
        if kept["run"] != run_id or not run_id.endswith(f"-s{kept['settings'].get('seed')}-{digest}"):
            raise Damaged(
                f"{path} holds run {kept['run']} with description {digest}: it was copied, renamed or edited. Delete "
                "it, or restore it from version control"
            )
        lengths = {len(values) for values in kept["epochs"].values()}
        if lengths != {kept["settings"]["epochs"]}:
            raise Damaged(
                f"{path} must hold {kept['settings']['epochs']} epochs, received {sorted(lengths)}; delete it"
            )
        return kept

    def runs(self) -> pd.DataFrame:
        """The finished runs, a row each, indexed by run id; empty before the first.

        Columns: arm, method, model, dataset, profile, teacher, start, the options of data and model by name, every
        setting, the figures, and the circumstances. An option that a run leaves at its default is empty.

        Raises:
            Damaged: see :meth:`run`.
        """
        rows = []
        for run_id in self.finished():
            kept = self.run(run_id)
            described = kept["description"]
            options = {
                key: value
                for part in ("data_options", "model_options")
                for key, value in described.get(part, {}).items()
            }
            rows.append(
                {
                    "run": run_id,
                    "arm": described["arm"],
                    "method": described["method"]["name"],
                    "model": described["model"],
                    "dataset": described["dataset"],
                    "profile": described.get("profile", "full"),
                    "teacher": described.get("teacher"),
                    "start": described.get("start"),
                    **options,
                    **kept["settings"],
                    **_numbers(kept["figures"]),
                    **kept["provenance"],
                }
            )
        return pd.DataFrame(rows).set_index("run") if rows else pd.DataFrame()

    def epochs(self) -> pd.DataFrame:
        """The epochs of the finished runs, a row each, with the column ``run``."""
        tables = [pd.DataFrame({"run": run_id, **_numbers(self.run(run_id)["epochs"])}) for run_id in self.finished()]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def outputs(self, run_id: str) -> dict[str, np.ndarray]:
        """The arrays kept of one run.

        Raises:
            Damaged: its file is not whole, or the samples that it was judged on are not there, or not what they were.
        """
        kept = saved_arrays(self.outputs_file(run_id))
        return {
            name: self._samples(str(array), run_id) if name.endswith(OF_SAMPLES) else array
            for name, array in kept.items()
        }

    def _samples_file(self, digest: str) -> Path:
        return self.folder / "samples" / f"{digest}.npz.xz"

    def _samples(self, digest: str, run_id: str) -> np.ndarray:
        path = self._samples_file(digest)
        try:
            array = saved_arrays(path)["samples"]
        except (OSError, KeyError, Damaged) as error:
            raise Damaged(f"run {run_id} was judged on samples that {path} does not give: {error}") from error
        if _array_digest(array) != digest:
            raise Damaged(f"{path} was edited: its content does not fit its name; restore it from version control")
        return array

    def _add_outputs(self, run_id: str, outputs: Mapping[str, np.ndarray]) -> None:
        kept = {}
        for name, array in outputs.items():
            if name.endswith(OF_SAMPLES):
                digest = _array_digest(array)
                if not self._samples_file(digest).exists():
                    _save_arrays(self._samples_file(digest), {"samples": array})
                array = np.array(digest)
            kept[name] = array
        _save_arrays(self.outputs_file(run_id), kept)

    def add(
        self,
        run_id: str,
        parts: Mapping[str, Any],
        outputs: Mapping[str, np.ndarray],
        latent: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds a finished run; adding it again replaces it.

        Args:
            parts: plain data by the names of :data:`PARTS`.
            outputs: arrays to keep beside it.
            latent: its weights, name -> tensor, or None.
        """
        self._add_outputs(run_id, outputs)
        if latent is not None:
            save_weights(self.latent_file(run_id), latent)
        kept = {"run": run_id, **{name: parts[name] for name in PARTS}}
        text = json.dumps({**kept, "digest": digest_of(kept)}, indent=1, ensure_ascii=False)
        replaced(self.run_file(run_id), lambda partial: partial.write_text(_flat(text) + "\n", encoding="utf-8"))


def save_weights(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a state dict as safetensors, whole or not at all."""
    from safetensors.torch import save

    contiguous = {name: value.contiguous() for name, value in state.items()}
    replaced(path, lambda partial: partial.write_bytes(save(contiguous)))


def _save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    def write(partial: Path) -> None:
        with lzma.open(partial, "wb", preset=9) as file:
            np.savez(file, **arrays)

    replaced(path, write)


def saved_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with lzma.open(path) as file, np.load(io.BytesIO(file.read()), allow_pickle=False) as arrays:
            return dict(arrays)
    except (EOFError, lzma.LZMAError, ValueError, zipfile.BadZipFile) as error:
        raise Damaged(f"{path} is not whole ({error}): restore it from version control") from error


def _array_digest(array: np.ndarray) -> str:
    told = f"{array.dtype.str} {array.shape}".encode()
    return hashlib.sha256(told + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def _numbers(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Figures, or columns of them, with NaN where JSON has null."""

    def number(value: Any) -> Any:
        return np.nan if value is None else value

    return {
        name: [number(v) for v in value] if isinstance(value, list) else number(value)
        for name, value in columns.items()
    }


def _flat(text: str) -> str:
    """JSON with each list on one line: an epoch's column stays readable in a diff."""
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found.group().split()), text)
