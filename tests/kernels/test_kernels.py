import copy
import dataclasses
import os
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnlib import kernels
from bnnlib.kernels import checks, reference

SETS = kernels.info()["available"]
SHAPES = [
    (1, 1, 1),
    (3, 2, 63),
    (3, 2, 64),
    (3, 2, 65),
    (1, 5, 130),
    (7, 1, 1000),
    (0, 3, 8),
    (3, 0, 8),
    (2, 2, 0),
    (13, 33, 700),
    (25, 64, 9000),
    (520, 40, 65),
    (30, 70, 64),
]


def signs(shape, seed=0):
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), shape)


def test_packing_by_hand():
    # +1 -1 +1 +1 -1 -1 -1 +1, first column in the lowest bit: 1 + 4 + 8 + 128
    x = np.array([[1, -1, 1, 1, -1, -1, -1, 1]], np.float32)
    assert kernels.pack(x).tolist() == [[141]]


def test_zero_of_either_sign_packs_as_plus_one():
    x = np.array([[0.0, -0.0, -1e-45, 1e-45, -np.inf, np.inf]], np.float32)
    assert kernels.pack(x).tolist() == [[0b101011]]


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize(("rows", "_", "columns"), SHAPES)
def test_compiled_packing_equals_numpy(rows, _, columns, isa):
    x = np.random.default_rng(1).standard_normal((rows, columns)).astype(np.float32)
    x.flat[: min(3, x.size)] = [0.0, -0.0, -np.inf][: min(3, x.size)]
    with kernels.instruction_set(isa):
        np.testing.assert_array_equal(kernels.pack(x), reference.pack(x))


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_matmul_equals_the_integer_product_of_the_signs(m, n, k, isa):
    a, b = signs((m, k), 2), signs((n, k), 3)
    with kernels.instruction_set(isa):
        product = kernels.matmul(kernels.pack(a), kernels.pack(b), k)
        looped = kernels.loop_matmul(kernels.pack(a), kernels.pack(b), k)
    assert product.dtype == np.int32
    np.testing.assert_array_equal(product, looped)
    np.testing.assert_array_equal(product, a.astype(np.int64) @ b.astype(np.int64).T)
    if m * n * k < 1_000_000:
        np.testing.assert_array_equal(product, reference.matmul(reference.pack(a), reference.pack(b), k))


@settings(max_examples=60, deadline=None)
@given(m=st.integers(1, 9), n=st.integers(1, 9), k=st.integers(1, 300), seed=st.integers(0, 2**32 - 1))
def test_products_have_the_parity_of_k_and_stay_in_range(m, n, k, seed):
    product = kernels.matmul(kernels.pack(signs((m, k), seed)), kernels.pack(signs((n, k), seed + 1)), k)
    assert np.all(np.abs(product) <= k)
    assert np.all((product - k) % 2 == 0)


@settings(max_examples=60, deadline=None)
@given(m=st.integers(0, 6), k=st.integers(0, 200), seed=st.integers(0, 2**32 - 1))
def test_unpack_is_the_inverse_of_pack(m, k, seed):
    x = signs((m, k), seed)
    np.testing.assert_array_equal(kernels.unpack(kernels.pack(x), k), x)


def test_non_contiguous_and_fortran_input_is_packed_as_it_reads():
    x = np.random.default_rng(4).standard_normal((20, 140)).astype(np.float32)
    for view in (x[::2, ::3], x.T, np.asfortranarray(x), x[:, 5:]):
        np.testing.assert_array_equal(kernels.pack(view), reference.pack(np.ascontiguousarray(view)))


def test_nan_is_refused_with_its_count():
    x = np.ones((2, 70), np.float32)
    x[0, 3] = x[1, 69] = np.nan
    with pytest.raises(ValueError, match="met 2 NaN among 140"):
        kernels.pack(x)


@pytest.mark.parametrize(
    "wrong", [np.ones((2, 2), np.float16), [[1.0]], np.ones((2, 2), np.int64), np.ones((2, 2), ">f4")]
)
def test_other_dtypes_are_refused_by_name(wrong):
    with pytest.raises(TypeError, match="bool NumPy array, received"):
        kernels.pack(wrong)


def test_wrong_shapes_are_refused():
    bits = kernels.pack(np.ones((2, 70), np.float32))
    with pytest.raises(ValueError, match=r"shape \(rows, 1\) for 64 columns, received \(2, 2\)"):
        kernels.matmul(bits, bits, 64)
    with pytest.raises(ValueError, match="matrix"):
        kernels.pack(np.ones(3, np.float32))
    with pytest.raises(TypeError, match="packed signs"):
        kernels.matmul(bits.astype(np.int64), bits, 70)
    with pytest.raises(ValueError, match="columns must lie in"):
        kernels.matmul(bits, bits, -1)


def test_bits_past_the_last_column_are_refused():
    wide = kernels.pack(np.ones((1, 64), np.float32))
    with pytest.raises(ValueError, match="bits set past column 60"):
        kernels.matmul(wide, wide, 60)


@pytest.mark.parametrize("isa", SETS)
def test_a_large_output_that_bypasses_the_caches_is_the_same(isa):
    a, b = kernels.pack(signs((600, 100), 5)), kernels.pack(signs((1024, 100), 6))
    with kernels.instruction_set(isa):
        np.testing.assert_array_equal(kernels.matmul(a, b, 100), reference.matmul(a, b, 100))


def test_prepacked_weights_and_an_output_of_ones_own():
    a, b = kernels.pack(signs((5, 130), 7)), kernels.pack(signs((40, 130), 8))
    panels = kernels.prepack(b, 130)
    assert panels.values.ctypes.data % 64 == 0
    out = np.empty((5, 40), np.int32)
    assert kernels.matmul(a, panels, 130, out=out) is out
    np.testing.assert_array_equal(out, kernels.matmul(a, b, 130))
    with pytest.raises(ValueError, match="prepacked with 130 columns, but columns is 129"):
        kernels.matmul(kernels.pack(signs((5, 129), 7)), panels, 129)
    out.flags.writeable = False
    with pytest.raises(ValueError, match=r"writable with shape \(5, 40\), received shape \(5, 40\), not writable"):
        kernels.matmul(a, panels, 130, out=out)
    with pytest.raises(TypeError, match="out must be an int32 array, received float64 array"):
        kernels.matmul(a, panels, 130, out=np.empty((5, 40)))


def test_kernels_that_were_not_built_say_so():
    code = "import sys; sys.modules['bnnlib.kernels._kernels'] = None; import bnnlib.kernels"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode
    assert done.stderr.splitlines()[-1].startswith(
        "ImportError: bnnlib's compiled kernels can't be loaded by this Python"
    )
    assert "`make setup` builds them" in done.stderr


def test_the_environment_forces_an_instruction_set_and_an_unknown_one_is_named():
    code = "from bnnlib import kernels; print(kernels.info()['isa'])"
    forced = subprocess.run([sys.executable, "-c", code], env={**os.environ, "BNNLIB_ISA": "portable"},
                            capture_output=True, text=True)  # fmt: skip
    assert forced.stdout.strip() == "portable", forced.stderr
    wrong = subprocess.run([sys.executable, "-c", code], env={**os.environ, "BNNLIB_ISA": "mmx"},
                           capture_output=True, text=True)  # fmt: skip
    assert "no instruction set 'mmx' on this processor; it has portable" in wrong.stderr
    assert kernels.info()["isa"] == SETS[-1]


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.bool_])
def test_every_dtype_packs_as_numpy_packs_it(dtype, isa):
    rng = np.random.default_rng(9)
    for shape in ((5, 200), (3, 64), (4, 1), (2, 63), (0, 5), (5, 0)):
        x = rng.integers(-2, 3, shape).astype(dtype)
        with kernels.instruction_set(isa):
            np.testing.assert_array_equal(kernels.pack(x), reference.pack(x))


def test_rows_are_packed_and_multiplied_where_they_lie():
    x = np.random.default_rng(10).standard_normal((9, 300)).astype(np.float32)
    buffer = bytearray(4 * x.size + 1)
    unaligned = np.frombuffer(buffer, np.float32, x.size, offset=1).reshape(x.shape)
    unaligned[:] = x
    for view in (x[:, :130], x[::-1], x[::3, 7:200], unaligned, np.broadcast_to(x[0], (4, 300))):
        np.testing.assert_array_equal(kernels.pack(view), reference.pack(np.array(view)))
    bits, b = kernels.pack(x), kernels.pack(x[:4])
    expected = reference.matmul(bits, b, 300)
    wide = np.zeros((9, 12), np.uint64)
    wide[:, 3:8] = bits
    np.testing.assert_array_equal(kernels.matmul(wide[:, 3:8], b, 300), expected)
    np.testing.assert_array_equal(kernels.matmul(bits[::-2], b, 300), expected[::-2])
    bits.flags.writeable = b.flags.writeable = False
    np.testing.assert_array_equal(kernels.matmul(bits, b, 300), expected)


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_images_of_either_layout_pack_alike_and_come_back(groups, isa):
    x = np.random.default_rng(11).standard_normal((2, 3 * 67 * 2, 5, 7)).astype(np.float32)
    each = x.shape[1] // groups
    with kernels.instruction_set(isa):
        bits = kernels.pack_images(x, groups=groups)
        last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        expected = reference.pack(last.reshape(-1, each)).reshape(2, 5, 7, -1)
        np.testing.assert_array_equal(bits, expected)
        np.testing.assert_array_equal(kernels.pack_images(last, "NHWC", groups=groups), expected)
        np.testing.assert_array_equal(kernels.pack_images(x.astype(np.float64), groups=groups), expected)
    signs_ = np.where(x >= 0, 1, -1)
    np.testing.assert_array_equal(kernels.unpack_images(bits, x.shape[1], groups=groups), signs_)
    np.testing.assert_array_equal(
        kernels.unpack_images(bits, x.shape[1], "NHWC", groups=groups, dtype=np.float32), signs_.transpose(0, 2, 3, 1)
    )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_branches_are_the_signs_of_shifted_images_one_after_the_other(dtype, layout):
    rng = np.random.default_rng(13)
    x, shifts = rng.standard_normal((2, 70, 3, 5)).astype(dtype), rng.standard_normal((3, 70)).astype(dtype)
    x[0, 0], shifts[1, 0] = -shifts[0, 0], shifts[0, 0]  # sums of exactly 0, whose sign is +1
    given = x if layout == "NCHW" else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    bits = kernels.pack_branches(given, shifts, layout)
    expected = np.concatenate([np.where(x + shift[:, None, None] >= 0, 1, -1) for shift in shifts])
    np.testing.assert_array_equal(kernels.unpack_images(bits, 70), expected)


@pytest.mark.parametrize(
    ("x", "shifts", "message"),
    [
        ((1, 8, 2, 2), (3, 7), r"shifts must be float32, shape \(K, 8\) with K >= 1, received .*\(3, 7\)"),
        ((1, 8, 2, 2), (0, 8), "with K >= 1"),
        ((8, 2, 2), (3, 8), "takes four dimensions"),
    ],
)
def test_branches_of_other_shapes_are_refused(x, shifts, message):
    with pytest.raises(ValueError, match=message):
        kernels.pack_branches(np.ones(x, np.float32), np.ones(shifts, np.float32))


def test_branches_take_real_values_of_one_kind_and_no_nan():
    x, shifts = np.ones((1, 8, 2, 2), np.float32), np.ones((2, 8), np.float32)
    with pytest.raises(TypeError, match="x must be a float32 or float64"):
        kernels.pack_branches(x.astype(np.int8), shifts)
    with pytest.raises(ValueError, match="shifts must be float32"):
        kernels.pack_branches(x, shifts.astype(float))
    with pytest.raises(ValueError, match="NaN has no sign"):
        kernels.pack_branches(x, np.full_like(shifts, np.nan))


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize(
    ("m", "n", "k"), [(5, 3, 70), (1, 32, 64), (7, 33, 65), (40, 64, 200), (3, 100, 1), (2, 5, 0), (0, 3, 4)]
)
def test_thresholds_compare_the_sums_and_flips_reverse_them(m, n, k, isa):
    rng = np.random.default_rng(12)
    a, b = signs((m, k), 2), signs((n, k), 3)
    thresholds, flips = rng.integers(-9, 10, n).astype(np.int32), rng.integers(0, 2, n).astype(bool)
    thresholds[:2] = [np.iinfo(np.int32).min, np.iinfo(np.int32).max][: min(2, n)]
    with kernels.instruction_set(isa):
        bits = kernels.matmul_threshold(kernels.pack(a), kernels.pack(b), k, thresholds, flips)
        plain = kernels.matmul_threshold(kernels.pack(a), kernels.pack(b), k, thresholds)
    sums = (a.astype(np.int64) @ b.astype(np.int64).T).astype(np.int32)
    np.testing.assert_array_equal(bits, reference.compare(sums, thresholds, flips))
    np.testing.assert_array_equal(plain, reference.compare(sums, thresholds, np.zeros(n, bool)))


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_a_product(threads, isa):
    a, b = kernels.pack(signs((90, 100), 5)), kernels.pack(signs((70, 100), 6))
    with kernels.instruction_set(isa):
        for rows in (1, 20, 90):
            np.testing.assert_array_equal(
                kernels.matmul(a[:rows], b, 100, threads=threads), reference.matmul(a[:rows], b, 100)
            )


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_int8_times_signs_equals_the_integer_product(m, n, k, isa):
    rng = np.random.default_rng(14)
    b = signs((n, k), 3)
    thresholds, flips = rng.integers(-900, 900, n).astype(np.int32), rng.integers(0, 2, n).astype(bool)
    for x in (rng.integers(-128, 128, (m, k)).astype(np.int8), np.full((m, k), -128, np.int8)):
        expected = x.astype(np.int64) @ b.astype(np.int64).T
        with kernels.instruction_set(isa):
            product = kernels.int8_matmul(x, kernels.pack(b))
            threaded = kernels.int8_matmul(x, kernels.prepack(kernels.pack(b), k), threads=3)
            bits = kernels.int8_matmul_threshold(x, kernels.pack(b), thresholds, flips)
        assert product.dtype == np.int32
        np.testing.assert_array_equal(product, expected)
        np.testing.assert_array_equal(threaded, expected)
        np.testing.assert_array_equal(bits, reference.compare(expected.astype(np.int32), thresholds, flips))


@pytest.mark.parametrize("isa", SETS)
def test_overlapping_rows_of_int8_are_a_convolution(isa):
    rng = np.random.default_rng(15)
    signal, weights = rng.integers(-128, 128, (50, 6)).astype(np.int8), signs((40, 9, 6), 4)
    rows = np.lib.stride_tricks.sliding_window_view(signal.reshape(-1), 54)[::6]
    with kernels.instruction_set(isa):
        product = kernels.int8_matmul(rows, kernels.pack(weights.reshape(40, 54)))
    expected = [[(signal[t : t + 9].astype(int) * w).sum() for w in weights.astype(int)] for t in range(42)]
    np.testing.assert_array_equal(product, expected)


def test_what_is_no_int8_matrix_or_does_not_fit_is_refused():
    b = kernels.pack(signs((4, 70)))
    for x, error, message in (
        (np.zeros((2, 70)), TypeError, "x must be an int8 array, received float64"),
        (np.zeros(70, np.int8), ValueError, r"x must be a matrix \(M, K\), received shape \(70,\)"),
        (np.zeros((2, 130), np.int8), ValueError, "for 130 columns"),
        (np.broadcast_to(np.int8(1), (1, 2**24)), ValueError, "may not fit int32"),
    ):
        with pytest.raises(error, match=message):
            kernels.int8_matmul(x, b)
    memory = np.zeros(1024, np.int8)
    with pytest.raises(ValueError, match="out shares memory with x"):
        kernels.int8_matmul(memory[:140].reshape(2, 70), b, out=memory[:32].view(np.int32).reshape(2, 4))


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize(
    ("bits_a", "signed_a", "bits_b", "signed_b"), [(2, False, 2, True), (1, False, 3, True), (4, True, 8, False)]
)
def test_products_of_codes_are_integer_products(bits_a, signed_a, bits_b, signed_b, isa):
    rng = np.random.default_rng(13)

    def codes(rows, bits, signed):
        low = -(2 ** (bits - 1)) if signed else 0
        return rng.integers(low, low + 2**bits, (rows, 333))

    a, b = codes(21, bits_a, signed_a), codes(45, bits_b, signed_b)
    with kernels.instruction_set(isa):
        product = kernels.matmul_codes(
            kernels.pack_codes(a, bits_a, signed=signed_a), kernels.pack_codes(b, bits_b, signed=signed_b)
        )
    np.testing.assert_array_equal(product, a @ b.T)


def test_codes_out_of_range_and_sums_that_may_overflow_are_refused():
    with pytest.raises(ValueError, match=r"2-bit signed codes lie in -2..1, received values in 0..2"):
        kernels.pack_codes(np.array([[0, 2]]), signed=True)
    with pytest.raises(TypeError, match="integer array, received float64"):
        kernels.pack_codes(np.ones((2, 2)), signed=False)
    with pytest.raises(ValueError, match=r"bits must be a whole number in 1\.\.8, received 9"):
        kernels.pack_codes(np.zeros((1, 1), int), 9, signed=False)
    wide = kernels.pack_codes(np.zeros((1, 40_000), np.uint8), 8, signed=False)
    with pytest.raises(ValueError, match="may not fit int32"):
        kernels.matmul_codes(wide, wide)


def test_the_naive_extension_multiplies_floats():
    a, b = signs((5, 40)), signs((6, 40), 1)
    np.testing.assert_array_equal(kernels.naive_matmul(a, b), a @ b.T)
    with pytest.raises(TypeError, match="a must be a float32 array"):
        kernels.naive_matmul(a.astype(np.float64), b)
    with pytest.raises(ValueError, match=r"\(M, K\) and \(N, K\)"):
        kernels.naive_matmul(a, b[:, 1:])


def test_signs_are_packed_in_the_call():
    x, b = np.random.default_rng(14).standard_normal((5, 100)).astype(np.float32), kernels.pack(signs((9, 100)))
    np.testing.assert_array_equal(kernels.sign_matmul(x, b), kernels.matmul(kernels.pack(x), b, 100))


def test_threads_are_not_woken_for_less_than_they_cost(monkeypatch):
    monkeypatch.setattr(checks, "MACS_OF_A_THREAD", 1 << 22)
    assert [checks.check_threads(4, macs) for macs in (0, 1 << 20, 1 << 23, 3 << 22, 1 << 30)] == [1, 1, 2, 3, 4]


@pytest.mark.parametrize("threads", [0, -1, 5000])
def test_numbers_of_threads_out_of_range_are_refused(threads):
    bits = kernels.pack(signs((2, 8)))
    with pytest.raises(ValueError, match=f"threads must lie in 1\\.\\.1024, received {threads}"):
        kernels.matmul(bits, bits, 8, threads=threads)
    with pytest.raises(TypeError, match="threads must be a whole number"):
        kernels.matmul(bits, bits, 8, threads=1.5)


def test_an_output_beyond_any_memory_is_refused_before_anything_is_written():
    huge = np.broadcast_to(np.zeros((1, 1), np.uint64), (2**31, 1))
    b = np.zeros((64, 1), np.uint64)
    with pytest.raises(ValueError, match="more than a process can address"):
        kernels.matmul(huge[:, :0], kernels.Panels(2**20, 0, np.zeros(0, np.uint32)), 0)
    with pytest.raises((ValueError, MemoryError)):
        kernels.matmul(np.broadcast_to(b[:1], (2**40, 1)), b, 64)


def test_thresholds_of_other_dtypes_or_lengths_are_refused():
    bits = kernels.pack(signs((2, 8)))
    with pytest.raises(TypeError, match="thresholds must be an int32 array, received float64"):
        kernels.matmul_threshold(bits, bits, 8, np.zeros(2))
    with pytest.raises(ValueError, match=r"thresholds must have shape \(2,\)"):
        kernels.matmul_threshold(bits, bits, 8, np.zeros(3, np.int32))
    with pytest.raises(TypeError, match="flips must be a bool array"):
        kernels.matmul_threshold(bits, bits, 8, np.zeros(2, np.int32), np.zeros(2))


def test_the_gil_is_released_while_a_kernel_runs():
    a = kernels.pack(signs((3000, 4000)))
    seen = []

    def count():
        while not seen or seen[-1] is not None:
            seen.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    with kernels.instruction_set("portable"):
        thread.start()
        begun = time.perf_counter()
        kernels.matmul(a, a, 4000)
        ended = time.perf_counter()
    seen.append(None)
    thread.join()
    assert sum(begun < moment < ended for moment in seen if moment is not None) >= 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_of_a_process_that_used_threads_does_not_hang():
    code = """
import os, signal, sys, numpy as np
from bnnlib import kernels
a = kernels.pack(np.ones((1024, 256), np.float32))
kernels.matmul(a, a, 256, threads=2)
child = os.fork()
if child == 0:
    signal.alarm(20)
    os._exit(0 if (kernels.matmul(a, a, 256, threads=2) == 256).all() else 1)
sys.exit(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_copied_and_pickled_panels_work_and_foreign_ones_are_refused():
    b = kernels.pack(signs((40, 130), 8))
    panels, expected = kernels.prepack(b, 130), reference.matmul(b, b, 130)
    for _ in range(5):
        for twin in (pickle.loads(pickle.dumps(panels)), copy.copy(panels), copy.deepcopy(panels)):
            assert twin.values.ctypes.data % 64 == 0
            np.testing.assert_array_equal(kernels.matmul(b, twin, 130), expected)
    codes = kernels.pack_codes(np.arange(-2, 2).repeat(20).reshape(2, 40), signed=True)
    again = copy.deepcopy(codes)
    assert again.panels.ctypes.data % 64 == 0
    np.testing.assert_array_equal(kernels.matmul_codes(codes, again), kernels.matmul_codes(codes, codes))
    with pytest.raises(ValueError, match="panels of 100000 rows and 130 columns are 600000 values of uint32, received"):
        kernels.matmul(b, kernels.Panels(100_000, 130, np.zeros(16, np.uint32)), 130)


def test_an_output_over_an_operand_and_columns_that_are_no_int_are_refused():
    a = kernels.pack(signs((64, 128)))
    with pytest.raises(ValueError, match="out shares memory"):
        kernels.matmul_threshold(a, a[:], 128, np.zeros(64, np.int32), out=a.reshape(-1)[:64, None])
    panels = kernels.prepack(a, 128)
    with pytest.raises(ValueError, match="out shares memory"):
        kernels.matmul(a[:4], panels, 128, out=panels.values[: 4 * 64].view(np.int32).reshape(4, 64))
    neighbours = np.zeros(192, np.uint64)  # side by side is not over each other
    neighbours[:128] = a.reshape(-1)
    kernels.matmul_threshold(neighbours[:128].reshape(64, 2), panels, 128, np.zeros(64, np.int32),
                             out=neighbours[128:, None])  # fmt: skip
    with pytest.raises(TypeError, match=r"columns must be a whole number, received 128\.0"):
        kernels.prepack(a, 128.0)
    narrow = kernels.prepack(a, np.uint8(128))  # as np.prod of a shape gives; in such a type 128 + 128 were 0
    assert narrow.columns == 128
    np.testing.assert_array_equal(kernels.matmul(a, narrow, np.uint8(128)), kernels.matmul(a, a, 128))


def test_codes_that_do_not_belong_together_are_refused():
    """The compiled product trusts them: wrong ones would be read past their end."""
    codes = kernels.pack_codes(np.arange(-2, 2).repeat(20).reshape(2, 40), signed=True)
    for change, message in (
        ({"columns": 10**6}, r"planes must be uint64 of shape \(2, 2, 15625\)"),
        ({"sums": np.zeros(0, np.int32)}, r"sums must be int32 of shape \(2,\)"),
        ({"weights": np.ones(3, np.int32)}, r"weights must be int32 of shape \(2,\)"),
        ({"planes": codes.planes[0]}, "planes must have shape"),
        ({"panels": codes.panels[:-1]}, "panels of 2 rows and 40 columns are 128 values of uint32"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(codes, **change)
    with pytest.raises(TypeError, match="a must be Codes"):
        kernels.matmul_codes(codes.planes, codes)


def test_bits_of_codes_may_be_any_whole_number():
    codes = np.arange(4).reshape(2, 2)
    np.testing.assert_array_equal(
        kernels.pack_codes(codes, np.int64(2), signed=False).planes, kernels.pack_codes(codes, 2, signed=False).planes
    )
    with pytest.raises(TypeError, match=r"bits must be a whole number, received 2\.0"):
        kernels.pack_codes(codes, 2.0, signed=False)


def test_prepared_operands_are_compared_by_identity():
    panels = kernels.prepack(kernels.pack(signs((4, 70))), 70)
    assert panels != copy.copy(panels)
    assert len({panels, panels}) == 1


def test_a_batch_norm_and_a_sign_are_the_thresholds_that_the_docstring_says():
    rng = np.random.default_rng(5)
    a, b = signs((50, 37), 1), signs((64, 37), 2)
    scale, shift = rng.integers(-3, 4, 64) / 4, rng.integers(-20, 21, 64) / 4  # eighths and quarters: no rounding
    with np.errstate(divide="ignore", invalid="ignore"):
        least = np.where(scale > 0, np.ceil(-shift / scale), np.floor(-shift / scale) + 1)
    least = np.where(scale == 0, np.where(shift >= 0, -(2**31), 2**31 - 1), least)
    bits = kernels.matmul_threshold(kernels.pack(a), kernels.pack(b), 37, least.astype(np.int32), scale < 0)
    np.testing.assert_array_equal(bits, reference.pack(scale * (a @ b.T) + shift))


@pytest.mark.parametrize("multiply", [kernels.matmul, kernels.sign_matmul])
def test_small_products_refuse_what_large_ones_do(multiply):
    """With an ``out`` the arguments are looked at in another way; what it does not know it leaves to the checks."""
    x = np.where(np.random.default_rng(0).random((3, 64)) < 0.5, 1, -1).astype(np.float32)
    b = kernels.prepack(kernels.pack(x), 64)
    signs = multiply is kernels.sign_matmul
    a, more, out = x if signs else kernels.pack(x), () if signs else (64,), kernels.empty((3, 3))
    np.testing.assert_array_equal(multiply(a, b, *more, out=out), x.astype(int) @ x.astype(int).T)
    for wrong in (memoryview(a), a.view([("field", a.dtype)]).reshape(a.shape)):
        with pytest.raises(TypeError):
            multiply(wrong, b, *more, out=out)
    with pytest.raises(TypeError, match="out must be an int32 array"):
        multiply(a, b, *more, out=out.view([("field", np.int32)]).reshape(3, 3))
    for threads in (0, 1.0):
        with pytest.raises((TypeError, ValueError), match="threads"):
            multiply(a, b, *more, out=out, threads=threads)
    if not signs:
        with pytest.raises(TypeError, match="columns must be a whole number"):
            multiply(a, b, 64.0, out=out)
