import numpy as np
import pandas as pd
import pytest

from bnnlib import report
from bnnlib.report.methods import _apart


def rows():
    columns = ["widths", "seeds", "accuracy", "± 95 %", "least", "most", "bytes", "1-bit MACs", "2-bit MACs",
               "real MACs", "step"]  # fmt: skip
    return pd.DataFrame(
        [
            ["W32A32", 5, 93.5, 0.123, 93.25, 93.75, 863_000, 0, 0, 7_600_000, 1.0],
            ["W2A2", 3, 93.0, np.nan, 92.9, 93.1, 68_400, 0, 7_400_000, 200_000, 1.104],
            ["W1A1", 1, 92.0, np.nan, 92.0, 92.0, 42_000, 7_400_000, 0, 200_000, np.nan],
        ],
        ["float", "two", "one"],
        columns,
    )


def test_a_table_for_readers_has_units_and_no_interval_for_three_seeds():
    shown = report.methods_table(rows())
    assert shown["test accuracy (%)"].tolist() == ["93.50 ± 0.12", "93.00", "92.00"]
    assert shown["over seeds"].str.replace("\u2060", "").tolist() == ["93.25–93.75", "92.90–93.10", "92.00–92.00"]
    assert shown["kB"].tolist() == [863, 68, 42]
    assert shown["MACs on bits (M)"].tolist() == ["0.0", "7.4 (2-bit)", "7.4"]
    assert shown["real MACs (M)"].tolist() == [7.6, 0.2, 0.2]


def test_every_method_with_a_value_has_a_point_and_its_name():
    table = rows()
    ax = report.methods_plot(table, table["step"], "step")
    assert {text.get_text() for text in ax.texts} == {"float", "two"}
    assert sorted(line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o") == [1.0, 1.104]


@pytest.mark.parametrize("places", [[1.0, 1.01, 1.02, 5.0], [0.0], [2.0, 2.0, 2.0]])
def test_names_stand_apart_in_their_order(places):
    moved = _apart(np.array(places), least=0.1)
    assert (np.diff(moved) > 0.1 - 1e-3).all()
    assert abs(moved - places).max() < 0.2
