import numpy as np
import pandas as pd
import pytest

from bnnlib import studies
from bnnlib.studies import ResultsStore, Run, Study, comparison
from bnnlib.studies.comparison import COLUMNS
from bnnlib.training import Settings

ACCURACIES = {"float": [93.0, 94.0, 95.0, 94.0], "bnn": [88.0, 89.0, 90.0]}


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    runs = tuple(
        Run(method, method, "compact-cnn", "FashionMNIST", Settings(epochs=1, seed=seed))
        for method, values in ACCURACIES.items()
        for seed in range(len(values))
    )
    monkeypatch.setitem(studies.STUDIES, "toy", Study("toy", "?", runs))
    store = ResultsStore(tmp_path / "toy")
    for run in runs:
        figures = {"test_accuracy": ACCURACIES[run.arm][run.settings.seed]}
        parts = {
            "description": run.describe(),
            "settings": vars(run.settings),
            "figures": figures,
            "epochs": {"epoch": [1]},
            "provenance": {},
        }
        store.add(run.id, parts, {"test_labels": np.zeros(1)})


def test_a_row_for_each_method_with_what_was_counted_by_hand(tmp_path):
    table = comparison("toy", tmp_path)
    assert list(table.columns) == list(COLUMNS)
    assert list(table.index) == ["float", "bnn"]
    assert table.loc["bnn", ["seeds", "accuracy", "least", "most"]].tolist() == [3, 89.0, 88.0, 90.0]
    assert np.isnan(table.loc["bnn", "± 95 %"])
    assert table.loc["float", "± 95 %"] > 0
    # 215,732 numbers of four bytes; all 214,816 weights in bits and 916 numbers of four bytes
    assert table["bytes"].tolist() == [862_928, 214_816 // 8 + 4 * 916]
    # a 3x3 convolution has 9 times its input channels, output channels and pixels; only the first one sees real pixels
    inner = 9 * (32 * 32 * 14**2 + 32 * 64 * 14**2 + 64 * 64 * 7**2) + 576 * 256 + 256 * 10
    assert table.loc["bnn", ["1-bit MACs", "real MACs"]].tolist() == [inner, 9 * 32 * 28**2]
    assert table.loc["float", ["1-bit MACs", "real MACs"]].tolist() == [0, inner + 9 * 32 * 28**2]


def test_the_step_is_the_bench_table_s_and_missing_where_there_is_none(tmp_path):
    assert comparison("toy", tmp_path)["step"].isna().all()
    (tmp_path / "bench").mkdir()
    rows = [
        {"what": "training", "method": "bnn", "ratio": 1.5, "processor": "mine"},
        {"what": "inference", "method": "bnn", "ratio": 9.0, "processor": "mine"},
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "bench" / "steps-compact-cnn.csv")
    table = comparison("toy", tmp_path)
    assert table.loc["bnn", ["step", "processor"]].tolist() == [1.5, "mine"]
    assert np.isnan(table.loc["float", "step"])


def test_the_step_of_a_study_s_own_arms_goes_before_the_model_s(tmp_path):
    (tmp_path / "bench").mkdir()
    of_model = [{"what": "training", "method": "bnn", "ratio": 1.5, "processor": "mine"}]
    pd.DataFrame(of_model).to_csv(tmp_path / "bench" / "steps-compact-cnn.csv")
    rows = [
        {"arm": "float", "ratio": 1.0, "processor": "first"},
        {"arm": "bnn", "ratio": 1.2, "processor": "first"},
        {"arm": "float", "ratio": 1.0, "processor": "second"},
        {"arm": "bnn", "ratio": 1.3, "processor": "second"},
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "bench" / "arms-toy.csv")
    table = comparison("toy", tmp_path)
    assert table["step"].tolist() == [1.0, 1.3]
    assert table["processor"].unique().tolist() == ["second"]


def test_a_study_without_runs_gives_an_empty_table(tmp_path):
    assert list(comparison("ideas", tmp_path).columns) == list(COLUMNS)
    assert len(comparison("ideas", tmp_path)) == 0


def test_a_changed_method_has_no_step_of_its_own():
    step = comparison("words")["step"]
    changed = step.index.str.endswith("common block")
    assert step[changed].isna().all()
    assert step[~changed].notna().all()
