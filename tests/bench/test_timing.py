import time
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from typer.testing import CliRunner

from bnnlib import bench
from bnnlib.bench import measure_biometrics, measure_steps, side_by_side
from bnnlib.cli import app


def test_contenders_take_turns_and_the_ratio_is_to_the_first():
    calls = []

    def contender(name, seconds):
        def call():
            calls.append(name)
            time.sleep(seconds)

        return call

    table = side_by_side({"a": contender("a", 0.002), "b": contender("b", 0.006)}, rounds=5, warmup=1, at_least=0)
    assert calls == ["a", "b"] + ["a", "b"] * 5
    assert table.loc["a", "ratio"] == 1
    assert 1.5 < table.loc["b", "ratio"] < 6
    assert table.loc["b", "ratio_low"] <= table.loc["b", "ratio"] <= table.loc["b", "ratio_high"]


def test_short_calls_are_repeated_within_a_turn():
    calls = []
    side_by_side({"a": lambda: calls.append(1), "b": lambda: time.sleep(0.001)}, rounds=3, at_least=0.002)
    assert len(calls) > 50


def test_contexts_are_entered_outside_the_clock_and_hold_during_their_contenders_turns_only():
    inside = []

    @contextmanager
    def slow():
        time.sleep(0.01)
        inside.append("a")
        yield
        inside.clear()
        time.sleep(0.01)

    seen = {"a": [], "b": []}
    table = side_by_side(
        {name: lambda name=name: seen[name].append(list(inside)) for name in seen},
        rounds=3,
        at_least=0,
        within={"a": slow},
    )
    assert table.loc["a", "ms"] < 5
    assert seen == {"a": [["a"]] * 5, "b": [[]] * 5}


def test_too_little_to_compare_is_refused():
    with pytest.raises(ValueError, match="two contenders and three rounds, received 1 and 15"):
        side_by_side({"a": lambda: None})


def test_steps_are_measured_for_every_method_and_differ_from_zero():
    torch.set_num_threads(1)
    table = measure_steps("mlp", batch_size=8, rounds=3)
    assert set(table["what"]) == {"training", "inference"}
    assert (table["ms"] > 0).all()
    assert (table.loc[table["method"] == "float", "ratio"] == 1).all()


def test_the_all_binary_network_is_timed_beside_pytorchs_which_gives_the_same_score():
    table = measure_biometrics([0.6, 1], rounds=3)  # asserts equal scores
    assert table[["seconds", "contender"]].to_numpy().tolist() == [
        [length, contender] for length in (0.6, 1) for contender in ("torch float32", "bnnlib")
    ]
    # one second: 92 frames after the first convolution, 38 after the second, 11 after the third
    macs = 92 * 128 * 64 * 9 + (38 + 11) * 128 * 128 * 9 + 128
    assert table["gmacs"].iloc[3] == pytest.approx(macs / table["ms"].iloc[3] / 1e6, rel=1e-3)


def test_branches_are_timed_in_one_convolution_and_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "measure_branches", partial(bench.measure_branches, [2], [(16, 8)]))
    done = CliRunner().invoke(app, ["bench", "branches", "--rounds", "3", "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (table,) = bench.stored(tmp_path / "bench" / "branches.csv").values()
    assert table["contender"].tolist() == ["one convolution", "one convolution, packing in the call"]
    assert (table[["ms", "ms_apart", "ratio"]] > 0).all(axis=None)


def test_the_costs_of_branches_are_measured_and_counted(tmp_path):
    arguments = ["--width", "4", "--batch-size", "4", "--rounds", "3", "--results", str(tmp_path)]
    done = CliRunner().invoke(app, ["bench", "branch-costs", *arguments])
    assert done.exit_code == 0, done.output
    (table,) = bench.stored(tmp_path / "bench" / "branch-costs.csv").values()
    table = table.set_index("contender")
    assert (table[["ms", "ratio", "peak_mb"]] > 0).all(axis=None)
    # in the first stage four convolutions of 4 to 4 channels at 32 x 32; in each further one 4 of twice the channels on
    # a quarter of the pixels, the first with half as many inputs, and a projection, which has one branch for any K
    inside, projections = 4 * 4 * 4 * 9 * 1024, sum(4 * 2**s * 8 * 2**s * 256 // 4**s for s in range(3))
    inside += sum((4 * 2**s + 3 * 8 * 2**s) * 8 * 2**s * 9 * 256 // 4**s for s in range(3))
    for branches in (1, 2, 3):
        assert table.loc[f"K = {branches}", "macs_1"] == branches * inside + projections
    assert table.loc["K = 1", "macs_32"] == 3 * 4 * 9 * 1024 + 32 * 10
    assert table.loc["float", "macs_32"] == inside + projections + 3 * 4 * 9 * 1024 + 32 * 10


def test_costs_of_an_unknown_network_or_precision_are_refused():
    with pytest.raises(ValueError, match="no model 'resnet'"):
        bench.measure_branch_costs("resnet")
    with pytest.raises(ValueError, match='precision must be "float32" or "bf16"'):
        bench.measure_branch_costs(precision="fp16")
