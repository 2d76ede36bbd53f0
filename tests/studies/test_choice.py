import pandas as pd
import pytest

from bnnlib import studies
from bnnlib.studies import recommend

COLUMNS = ["widths", "accuracy", "least", "most", "bytes", "step"]
TABLE = pd.DataFrame(
    [
        ["float", "W32A32", 94.0, 93.8, 94.2, 800, 1.0],
        ["weights", "W1A32", 93.2, 93.0, 93.4, 40, 1.2],
        ["steps", "W2A32", 93.5, 93.3, 93.6, 70, 1.3],
        ["signs", "W1A1", 90.0, 89.9, 90.1, 30, 1.1],
        ["better signs", "W1A1", 92.0, 91.5, 92.5, 45, None],
        ["also good", "W1A1", 91.7, 91.4, 91.8, 42, 2.0],
    ],
    columns=["arm", *COLUMNS],
).set_index("arm")


def test_each_need_gets_the_method_that_a_person_would_pick_from_the_table():
    chosen = recommend(TABLE)
    assert chosen["method"].tolist() == ["steps", "weights", "better signs", "also good", "signs"]
    assert chosen["as good"].tolist() == ["weights", "", "also good", "", ""]
    assert chosen["bytes"].tolist() == [70, 40, 45, 42, 30]


def test_of_methods_of_one_size_the_most_accurate_is_taken():
    level = TABLE.assign(bytes=[800, 40, 70, 30, 42, 42])
    chosen = recommend(level).loc["smallest of signs only"]
    assert (chosen["method"], chosen["as good"]) == ("better signs", "also good")
    apart = level.assign(most=level["most"].where(level.index != "also good", 91.45))
    assert recommend(apart).loc["smallest of signs only", "as good"] == ""


def test_a_need_that_no_method_meets_has_no_row():
    chosen = recommend(TABLE.loc[["float", "weights"]])
    assert chosen["method"].tolist() == ["weights", "weights", "weights"]
    assert recommend(TABLE.drop(columns="step").assign(step=float("nan")))["method"].iloc[-1] == "also good"


@pytest.mark.parametrize("name", studies.COMPARED)
def test_what_is_compared_are_studies_of_the_course(name):
    assert name in studies.STUDIES
    table = studies.compared().get(name)
    assert table is None or recommend(table)["method"].isin(table.index).all()
