"""Whether packed networks are the trained ones, on every test sample of their studies: counted, not timed."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch import nn

import bnnlib
from bnnlib import data, studies
from bnnlib.layers import QuantizedLayer
from bnnlib.quantizers import NotPackable

__all__ = ["measure_exactness"]

AT_ONCE = 250  # samples


def measure_exactness(
    *,
    progress: Callable[[dict], None] = lambda row: None,
    skipped: Callable[[str, str], None] = lambda name, why: None,
) -> pd.DataFrame:
    """Packs every network whose trained weights are kept and compares it with the trained one on the test split.

    Args:
        progress: called with each row.
        skipped: called with a run that can't be packed or whose data are not there, and why.

    Returns:
        A row for each run: ``study``, ``run``, ``arm``, ``method``, ``exact`` (whether all sums are whole numbers),
        ``samples``, ``same_class``, ``codes`` (of all layers and samples together), ``other_codes`` (those that
        differ), ``bytes`` (of the packed tensors), ``float_bytes``.
    """
    rows = []
    for run_id, (study, run, weights) in studies.all_kept().items():
        model = run.build_model()
        model.load_state_dict(load_file(weights))
        try:
            splits = data.load(run.dataset, run.profile, **run.data_options)
            shape = tuple(splits.test.inputs(slice(1)).shape[1:])
            packed = bnnlib.pack(model.eval(), shape)
        except (NotPackable, FileNotFoundError) as error:
            skipped(run_id, str(error))
            continue
        row = {"study": study.name, "run": run_id, "arm": run.arm, "method": run.method, "exact": packed.exact}
        row |= _compared(model, packed, splits.test)
        rows.append(row | {"bytes": packed.bytes, "float_bytes": bnnlib.summary(model, shape).float_bytes})
        progress(rows[-1])
    return pd.DataFrame(rows)


def _compared(model: nn.Module, packed, test) -> dict[str, int]:
    found = {"samples": len(test), "same_class": 0, "codes": 0, "other_codes": 0}
    codes: dict[str, np.ndarray] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, QuantizedLayer) and layer.input_quantizer.bits is not None and not hasattr(layer, "mix"):
            layer.register_forward_pre_hook(_remember(codes, name.replace(".", "_")))
    for start in range(0, len(test), AT_ONCE):
        x = test.inputs(slice(start, start + AT_ONCE))
        with torch.no_grad():
            scores = model(x).numpy()
        found["same_class"] += int((packed.predict(x.numpy()) == scores.argmax(1)).sum())
        ours = packed.codes(x.numpy())
        for name, theirs in codes.items():
            value = ours.get(f"{name}.signs", ours.get(f"{name}.codes"))
            found["codes"] += theirs.size
            found["other_codes"] += int((value.transpose(0, 3, 1, 2).reshape(theirs.shape) != theirs).sum())
    return found


def _remember(codes: dict[str, np.ndarray], name: str):
    """A hook that keeps a layer's codes, as PyTorch computes them, in its order."""

    def hook(layer, inputs) -> None:
        with torch.no_grad():
            codes[name] = layer.input_quantizer.codes(inputs[0])[0].numpy()

    return hook
