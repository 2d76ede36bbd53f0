from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from bnnlib import bench, kernels, studies
from bnnlib.bench import machine, rivals
from bnnlib.bench.products import signs
from bnnlib.cli import app

COME_WITH_THE_COURSE = [name for name, rival in rivals.RIVALS.items() if set(rival.needs) <= {"numba"}]


@pytest.mark.parametrize("name", COME_WITH_THE_COURSE)
def test_every_rival_multiplies_the_same_signs(name):
    """All compute the true product, but for int8, which wraps: its entries agree modulo 256."""
    a, b = signs((40, 300)), signs((24, 300), 1)
    a[0] = b[0] = 1  # a sum of 300, beyond int8
    if name == "packed linear float32" and not torch.backends.mkl.is_available():
        pytest.skip("this build of PyTorch has no MKL")
    product = torch.as_tensor(rivals.RIVALS[name].make(a, b)()).double().numpy().reshape(-1)
    expected = (a @ b.T).reshape(-1)
    if name == "1x1 F.conv2d float32":  # (1, N, M, 1)
        expected = (b @ a.T).reshape(-1)
    if "wraps" in name:
        assert np.any(product != expected)
        expected, product = expected % 256, product % 256
    tolerance = 2 if name == "torch.mm bf16" else 0  # the result is rounded to 8 bits
    np.testing.assert_allclose(product, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", COME_WITH_THE_COURSE)
def test_a_product_with_one_wrong_entry_is_recognised_as_wrong(name):
    rival, expected = rivals.RIVALS[name], np.arange(6, dtype=np.int32).reshape(2, 3)
    result = expected.T if rival.transposed else expected
    assert rival.is_right(result, expected)
    assert rival.is_right(result + 1, expected) == (rival.tolerance is None)


def test_the_share_of_wrong_int8_entries_is_counted():
    a = np.ones((4, 200), np.float32)
    b = np.concatenate([np.ones((1, 200), np.float32), signs((3, 200))])
    assert rivals.wrong_share(a, b) == 0.25  # sums of 200 wrap, those of random signs stay far below 127


def test_products_are_measured_in_pairs_with_ours():
    names = ["torch.mm float32", "naive extension"]
    table = bench.measure_products([(32, 32, 64)], rivals=names, rounds=3, at_least=0.001)
    assert set(names) <= set(table["contender"])
    assert {"warm", "cold"} == set(table["caches"])
    assert (table["gmacs"] > 0).all()
    np.testing.assert_allclose(table["gmacs"], 32 * 32 * 64 / table["ms"] / 1e6, rtol=0.05)
    for isa in kernels.info()["available"][:-1]:
        assert f"bnnlib, {isa}" in set(table["contender"])


def test_convolutions_and_packing_are_measured():
    table = bench.measure_convolutions([(1, 16, 8)], rounds=3, at_least=0.001)
    assert {"torch int8", "torch float32, channels last", "bnnlib, packing NHWC in the call"} <= set(table["contender"])
    table = bench.measure_packing([16384], rounds=3, at_least=0.001)
    assert {"reading", "memcpy", "bnnlib.kernels.pack"} <= set(table["contender"])
    assert (table["gb_per_s"] > 0).all()


def test_the_limit_is_set_by_slots_or_by_counts():
    # three instructions over four ports: 0.75 cycles for 512 bits; over two ports 1.5
    assert machine.port_limit(2.0, {"xor": 0.25, "popcount": 0.5, "add": 0.25}) == pytest.approx(512 / 0.75 * 2)
    assert machine.port_limit(2.0, {"xor": 0.5, "popcount": 1.0, "add": 0.5}) == pytest.approx(512 / 1.5 * 2)
    assert machine.port_limit(1.0, {"xor": 0.25, "popcount": 1.0, "add": 0.25}) == pytest.approx(512)
    fused = machine.port_limit(2.0, {"xor": 0.25, "popcount": 0.5, "add": 0.25}, operations=2.75, counts=0.75)
    assert fused == pytest.approx(512 / 0.6875 * 2)
    assert 0.2 < machine.clock() < 8
    assert all(0 < took < 1000 for took in machine.call_overhead().values())


@pytest.mark.parametrize(
    ("processor", "name", "floats"),
    [
        ("AMD EPYC (family 25, model 1)", "Zen 3", 16),
        ("AMD EPYC (family 25, model 17)", "Zen 4", 16),
        ("AMD Ryzen 9 7950X (family 25, model 97)", "Zen 4", 16),
        ("AMD EPYC (family 26, model 2)", "Zen 5", 32),
        ("Intel(R) Xeon(R) Processor (family 6, model 167)", "Xeon", 32),
    ],
)
def test_the_peak_of_float32_follows_from_the_kind_of_core(processor, name, floats):
    assert machine.core(processor) == machine.Core(name, floats)
    assert machine.float_limit(2.5, processor) == floats * 2.5


def test_of_other_processors_no_peak_is_claimed():
    for processor in ("Intel(R) Core(TM) i7 (family 6, model 165)", "Apple M2", "AMD Opteron (family 15, model 5)"):
        assert machine.core(processor) is None
        assert machine.float_limit(3.0, processor) is None


def test_a_short_name_belongs_to_one_processor_only():
    zen5, xeon = "AMD EPYC (family 26, model 2)", "Intel(R) Xeon(R) Processor (family 6, model 167)"
    assert machine.short_names([zen5, xeon, "Apple M2"]) == {zen5: "Zen 5", xeon: "Xeon", "Apple M2": "Apple M2"}
    other = "AMD EPYC (family 26, model 17)"
    assert machine.short_names([zen5, xeon, other]) == {zen5: zen5, xeon: "Xeon", other: other}


def test_no_stored_float32_is_faster_than_its_peak():
    """Taps in the padding are counted as arithmetic and may be skipped: only those inside the image must be done."""
    for table, shape in (("matmul", ["m", "n", "k"]), ("convolution", ["images", "channels", "size"])):
        for processor, rows in bench.stored(studies.results_folder() / "bench" / f"{table}.csv").items():
            floats = rows[rows["contender"].str.contains("float32") & (rows["caches"] == "warm")]
            done = floats["gmacs"]
            if table == "convolution":
                done = done * ((3 * floats["size"] - 2) / (3 * floats["size"])) ** 2
            share = done / machine.float_limit(rows["ghz"].iloc[0], processor)
            assert 0.3 < share.max() < 1.05, (processor, floats.loc[share.idxmax(), [*shape, "contender"]])


def test_a_table_takes_the_place_of_the_same_processors_only(tmp_path):
    def measured(processor, ms):
        return pd.DataFrame({"contender": ["a", "b"], "ms": ms, "processor": processor})

    path = tmp_path / "bench" / "matmul.csv"
    for processor, ms in (("first", [1.0, 2.0]), ("second", [3.0, 4.0]), ("first", [5.0, 6.0])):
        bench.store(measured(processor, ms), path)
    tables = bench.stored(path)
    assert {name: table["ms"].tolist() for name, table in tables.items()} == {"first": [5, 6], "second": [3, 4]}
    assert list(tables) == ["first", "second"]
    part = measured("second", [7.0, 8.0]).iloc[1:]  # contender b only, as a size that is measured again
    bench.store(part, path, by=["contender"])
    assert bench.stored(path)["second"]["ms"].tolist() == [3, 8]


def test_every_bench_prints_its_rows_and_stores_its_table(tmp_path, monkeypatch):
    tiny = {"rounds": 3, "at_least": 1e-4}
    for name, measure in (
        ("convolution", partial(bench.measure_convolutions, [(1, 16, 8)], **tiny)),
        ("packing", partial(bench.measure_packing, [16384], **tiny)),
    ):
        measure_now = lambda *, rounds, progress, skipped=None, measure=measure: measure(progress=progress)  # noqa: E731
        monkeypatch.setattr(bench, measure.func.__name__, measure_now)
        done = CliRunner().invoke(app, ["bench", name, "--results", str(tmp_path)])
        assert done.exit_code == 0, done.output
        (table,) = bench.stored(tmp_path / "bench" / f"{name}.csv").values()
        assert done.output.count("bnnlib") == table["contender"].str.contains("bnnlib").sum()
        assert {"load", "isa", "commit", "call_conv2d_us"} <= set(table)
    done = CliRunner().invoke(
        app, ["bench", "matmul", "--size", "16x16x64", "--rounds", "3", "--no-cold", "--results", str(tmp_path)]
    )
    assert done.exit_code == 0, done.output


def test_a_size_that_is_none_is_refused(tmp_path):
    done = CliRunner().invoke(app, ["bench", "matmul", "--size", "12x7", "--results", str(tmp_path)])
    assert done.exit_code == 2
    assert "MxNxK" in done.output
