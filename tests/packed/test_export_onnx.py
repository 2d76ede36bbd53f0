"""The ONNX file of a packed network runs in ONNX Runtime and computes the same."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from packed.networks import EXPORTED, trained
from packed.random_networks import networks

import bnnlib
from bnnlib.packed.export.onnx import onnx_model, write_onnx


def session(content):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def scores(packed, x):
    return session(onnx_model(packed).SerializeToString()).run(None, {"input": x})[0]


@pytest.mark.filterwarnings("ignore:a layer with a weight")
@pytest.mark.parametrize("which", EXPORTED)
def test_onnx_runtime_has_the_scores_of_the_packed_network(which):
    name, build, shape = EXPORTED[which]
    packed = bnnlib.pack(trained(lambda: build(name), name, shape), shape)
    x = np.random.default_rng(0).standard_normal((4, *shape)).astype(np.float32)
    expected, found = packed.scores(x), scores(packed, x)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    if packed.exact:
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
        np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(networks())
def test_random_networks_in_onnx_equal_the_packed_ones(network):
    model, shape, x = network
    packed = bnnlib.pack(model, shape)
    expected = packed.scores(x.numpy())
    np.testing.assert_allclose(scores(packed, x.numpy()), expected, rtol=1e-6, atol=1e-6, err_msg=str(model))


def test_the_file_holds_codes_as_int8_and_says_what_it_is(tmp_path):
    name, build, shape = EXPORTED["two bits"]
    classes = [f"class {i}" for i in range(10)]
    packed = bnnlib.pack(trained(lambda: build(name), name, shape), shape, classes=classes, about={"run": "a"})
    path = tmp_path / "net.onnx"
    write_onnx(packed, path)
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} == {""}  # standard operators alone
    assert "Sign" not in {node.op_type for node in model.graph.node}
    held = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert held == {"classes": classes, "about": {"run": "a"}}
    weights = sum(t.values.size for op in packed.operations if (t := getattr(op, "weights", None)) is not None)
    assert weights < path.stat().st_size < 1.5 * weights + 10_000
    batch = session(str(path)).run(None, {"input": np.zeros((3, *shape), np.float32)})[0]  # any number of inputs
    assert batch.shape == (3, 10)
