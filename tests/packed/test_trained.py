"""The networks that come with the library are those of kept runs, and say what these said."""

import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import bnnlib
from bnnlib import data, studies
from bnnlib.packed.trained import FOLDER, names

TOOLS = Path(__file__).parents[2] / "tools"


def run_of(packed):
    """The run that a shipped network was packed from, and where its weights are kept."""
    found = [
        (run_id, study, run, weights)
        for run_id, (study, run, weights) in studies.all_kept().items()
        if run.describe() == packed.about["run"]
    ]
    assert len(found) == 1
    return found[0]


def test_there_are_networks_and_others_are_refused():
    assert "fashion-mnist-1-bit" in names()
    with pytest.raises(ValueError, match=r"no pretrained network 'shoes'; there are .*fashion-mnist-1-bit"):
        bnnlib.pretrained("shoes")


@pytest.mark.parametrize("name", names())
def test_a_shipped_file_is_what_packing_its_run_writes(name, tmp_path):
    shipped = bnnlib.pretrained(name)
    _, study, run, weights = run_of(shipped)
    assert shipped.about["study"] == study.name
    model = run.build_model()
    model.load_state_dict(load_file(weights))
    packed = bnnlib.pack(model, shipped.input_shape, classes=shipped.classes, about=shipped.about)
    packed.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (FOLDER / f"{name}.safetensors").read_bytes()
    assert shipped.exact, "what is shipped decides by whole numbers"


@pytest.mark.parametrize("name", names())
def test_a_shipped_network_says_of_the_sample_what_its_run_said(name):
    shipped = bnnlib.pretrained(name)
    run_id, study, run, _ = run_of(shipped)
    outputs = studies.results(study.name).outputs(run_id)
    test = data.load(run.dataset, "quick").test
    labels = outputs["test_labels"]  # the sample holds the first hundred of each class
    places = np.sort(np.concatenate([np.flatnonzero(labels == c)[:100] for c in range(10)]))
    np.testing.assert_array_equal(labels[places], test.labels)
    np.testing.assert_array_equal(shipped.predict(test.inputs().numpy()), outputs["test_predicted"][places])


@pytest.mark.parametrize("file", ["FashionBits.js", "fashion-images.js"])
def test_what_the_page_needs_is_what_the_tool_writes(file, tmp_path, monkeypatch):
    if file == "FashionBits.js":
        pytest.importorskip("ziglang")
    monkeypatch.syspath_prepend(TOOLS)
    sys.modules.pop("page_assets", None)
    import page_assets

    kept = page_assets.FOLDER / file
    monkeypatch.setattr(page_assets, "FOLDER", tmp_path)
    page_assets.main()
    assert (tmp_path / file).read_bytes() == kept.read_bytes()
