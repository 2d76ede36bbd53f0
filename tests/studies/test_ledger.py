import numpy as np
import pandas as pd
import pytest

from bnnlib import studies
from bnnlib.data import CLASSES
from bnnlib.studies import ResultsStore, Run, Study, ledger, registry
from bnnlib.studies.ledger import COLUMNS, claims
from bnnlib.training import Settings


def write(folder, *rows):
    pd.DataFrame(rows, columns=COLUMNS).to_csv(folder / "ledger.csv", index=False)
    return folder


ROW = ("a", "accuracy", "%", "78.73", "somebody", "toy", "arm", "test_accuracy", "another network")


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    runs = tuple(Run("arm", "float", "mlp", "FashionMNIST", Settings(epochs=1, seed=seed)) for seed in range(5))
    monkeypatch.setitem(studies.STUDIES, "toy", Study("toy", "?", runs))


def store_runs(folder, accuracies):
    store = ResultsStore(folder / "toy")
    for run, accuracy in zip(studies.get("toy").runs, accuracies, strict=False):
        parts = {
            "description": run.describe(),
            "settings": vars(run.settings),
            "figures": {"test_accuracy": accuracy},
            "epochs": {"epoch": [1]},
            "provenance": {},
        }
        outputs = {"test_labels": np.repeat(np.arange(10), 10), "test_predicted": np.zeros(100, int)}
        store.add(run.id, parts, outputs)


def test_ours_is_mean_and_interval_over_seeds(tmp_path):
    store_runs(tmp_path, [90, 91, 92, 93, 94])
    # standard deviation 1.5811, t(0.975, 4) = 2.7764: 2.7764 * 1.5811 / sqrt(5) = 1.9632
    assert ledger(write(tmp_path, ROW)).loc["a", "ours"] == "92.00 ± 1.96 (5 seeds)"


def test_three_seeds_show_their_range(tmp_path):
    store_runs(tmp_path, [90, 91, 95])
    assert ledger(write(tmp_path, ROW)).loc["a", "ours"] == "92.00 (3 seeds: 90.00 to 95.00)"


def test_one_seed_is_one_training(tmp_path):
    store_runs(tmp_path, [90])
    assert ledger(write(tmp_path, ROW)).loc["a", "ours"] == "90.00 (one training)"


def test_errors_and_classes_are_computed_from_the_stored_predictions(tmp_path):
    store_runs(tmp_path, [90])
    error = (*ROW[:7], "test_error", "x")
    shirt = ("b", *ROW[1:7], "class:T-shirt/top", "x")
    trouser = ("c", *ROW[1:7], "class:Trouser", "x")
    ours = ledger(write(tmp_path, error, shirt, trouser))["ours"]
    assert [text.split()[0] for text in ours] == ["10.00", "100.00", "0.00"]


def test_what_was_not_measured_is_empty(tmp_path):
    unmeasured = ("d", "energy", "pJ", "640", "somebody", "", "", "", "not measured")
    assert list(ledger(write(tmp_path, ROW, unmeasured))["ours"]) == ["", ""]


def test_a_bad_ledger_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds twice: a"):
        claims(write(tmp_path, ROW, ROW) / "ledger.csv")
    with pytest.raises(ValueError, match="no 'why they differ' in row a"):
        claims(write(tmp_path, (*ROW[:8], "")) / "ledger.csv")
    (tmp_path / "ledger.csv").write_text("id,claimed\n")
    with pytest.raises(ValueError, match="must have the columns"):
        claims(tmp_path / "ledger.csv")


def test_rows_of_the_books_ledger_name_studies_and_arms_that_exist():
    for row in claims(studies.results_folder() / "ledger.csv").itertuples():
        if row.study.startswith("bench/"):
            table = pd.read_csv(studies.results_folder() / f"{row.study}.csv")
            assert len(table.query(row.arm).eval(row.value).dropna()) >= 1, row.Index
        elif row.study:
            assert row.arm in {run.arm for run in studies.get(row.study).runs}, row.Index
            kind, _, name = row.value.partition(":")
            assert kind in ("test_accuracy", "test_error") or (kind == "class" and name in CLASSES["FashionMNIST"]), (
                row.Index
            )


def test_missing_runs_of_a_study_are_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "results_folder", lambda: tmp_path)
    studies.results("fashion-headline")
    assert "10 of 10 runs are not finished yet: bnnlib study run fashion-headline" in capsys.readouterr().out


def test_a_measured_ratio_is_to_the_best_contender(tmp_path):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "convolution.csv").write_text(
        "contender,channels,threads,processor,ratio\n"
        "slow,256,1,A,80\nfast,256,1,A,19.96\nother,64,1,A,5\nslow,256,1,B,7.5\nfast,256,1,B,8\n"
    )
    row = ("a", "speed-up", "times", "58", "someone", "bench/convolution", "channels == 256", "ratio", "why")
    assert ledger(write(tmp_path, row)).loc["a", "ours"] == "20.0 (A, fast, 1 thread); 7.5 (B, slow, 1 thread)"
    inverse = (*row[:7], "100 / ratio", "why")
    assert ledger(write(tmp_path, inverse)).loc["a", "ours"] == "1.2 (A, slow, 1 thread); 12.5 (B, fast, 1 thread)"
    missing = ("b", "speed-up", "times", "58", "someone", "bench/none", "channels == 256", "ratio", "why")
    assert ledger(write(tmp_path, missing)).loc["b", "ours"] == ""
