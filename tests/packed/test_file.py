"""The file of a packed network: what is written is read, and nothing else is believed."""

import json
import subprocess
import sys

import numpy as np
import pytest
from packed.networks import SHAPE, trained
from safetensors import safe_open
from safetensors.numpy import save_file

import bnnlib
from bnnlib import models
from bnnlib.files import Damaged
from bnnlib.packed import PackedModel
from bnnlib.packed.file import ENTRY
from bnnlib.packed.layout import from_tight_bits, tight_bits

METHODS = ["bnn", "lsq-w2a2", "dorefa-w2a2", "twn", "ir-net", "reactnet", "ie-net", "xnor-naive", "float"]
INPUT = np.random.default_rng(0).standard_normal((5, *SHAPE)).astype(np.float32)


def packed_network(name: str) -> PackedModel:
    model = trained(lambda: models.CompactCNN(name, size=12, first_last="int8"), name)
    return bnnlib.pack(model, SHAPE, classes=[f"class {i}" for i in range(10)], about={"run": name})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "net.safetensors"
    packed_network("xnor-operator").save(path)
    return path


def parts(path):
    """Tensors and the network's description, to be changed and written anew."""
    with safe_open(path, framework="numpy") as file:
        network = json.loads(file.metadata()[ENTRY])
        del network["sha256"]  # a file without is believed
        return {key: file.get_tensor(key) for key in list(file.keys())}, network


@pytest.mark.parametrize("name", METHODS)
def test_a_written_network_is_read_as_it_was(name, tmp_path):
    packed = packed_network(name)
    path = tmp_path / "net.safetensors"
    packed.save(path)
    read = PackedModel.load(path)
    np.testing.assert_array_equal(read.scores(INPUT), packed.scores(INPUT))
    assert (read.classes, read.about, read.input_shape) == (packed.classes, packed.about, packed.input_shape)
    assert [str(t) for t in read.tensors()] == [str(t) for t in packed.tensors()]
    assert sum(tensor.nbytes for tensor in parts(path)[0].values()) == packed.bytes
    again = tmp_path / "again.safetensors"
    read.save(again)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("bits", range(1, 9))
def test_tight_bits_are_those_of_the_binary_number(bits):
    values = np.random.default_rng(bits).integers(0, 2**bits, 37).astype(np.uint8)
    packed = tight_bits(values, bits)
    whole = int.from_bytes(packed.tobytes(), "little")
    assert [whole >> (bits * i) & (2**bits - 1) for i in range(37)] == values.tolist()
    assert len(packed) == -(-37 * bits // 8)
    np.testing.assert_array_equal(from_tight_bits(packed, 37, bits), values)


def test_bits_past_the_last_value_are_refused():
    with pytest.raises(ValueError, match="past the last value"):
        from_tight_bits(np.array([0xFF], np.uint8), 7, 1)


def test_reading_and_predicting_need_no_torch(written):
    code = (
        "import sys, numpy as np\n"
        "from bnnlib.packed import PackedModel\n"
        f"model = PackedModel.load({str(written)!r})\n"
        "model.predict(np.zeros(model.input_shape, np.float32))\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'scipy', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_file_that_ends_early_is_damaged(written, tmp_path):
    whole = written.read_bytes()
    for length in (0, 1, 8, 100, len(whole) // 2, len(whole) - 1):
        path = tmp_path / "short.safetensors"
        path.write_bytes(whole[:length])
        with pytest.raises(Damaged, match="damaged"):
            PackedModel.load(path)
    path.write_bytes(whole + b"more")
    with pytest.raises(Damaged, match="damaged"):
        PackedModel.load(path)


def test_a_turned_bit_anywhere_is_noticed(written, tmp_path):
    content = written.read_bytes()
    path = tmp_path / "net.safetensors"
    for at in np.random.default_rng(0).integers(0, 8 * len(content), 200):
        changed = bytearray(content)
        changed[at // 8] ^= 1 << at % 8
        path.write_bytes(changed)
        with pytest.raises(Damaged):
            PackedModel.load(path)


def test_a_file_has_the_rights_that_other_new_files_have(written, tmp_path):
    (tmp_path / "other").write_bytes(b"")
    assert written.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_missing_file_is_no_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        PackedModel.load(tmp_path / "none")


def test_another_format_and_a_newer_version_are_told_apart(written, tmp_path):
    tensors, network = parts(written)
    path = tmp_path / "other.safetensors"
    save_file(tensors, path)
    with pytest.raises(Damaged, match="no packed network"):
        PackedModel.load(path)
    save_file(tensors, path, {ENTRY: json.dumps(network | {"version": 2})})
    with pytest.raises(Damaged, match="update bnnlib"):
        PackedModel.load(path)


def operation(kind):
    return lambda network: next(each for each in network["operations"] if each["kind"] == kind)


product, norm, levels, pool, sign = map(operation, ("Product", "Norm", "Levels", "MaxPool", "Sign"))
LIES = {
    "a larger input": lambda n, t: n.update(input_shape=[1, 2**16, 2**16]),
    "no number": lambda n, t: n.update(input_shape=[1, 12, "12"]),
    "a true number": lambda n, t: n.update(input_shape=[True, 12, 12]),
    "no classes": lambda n, t: n.update(classes=None),
    "fewer classes": lambda n, t: n["classes"].pop(),
    "another key": lambda n, t: n.update(more=1),
    "an unknown kind": lambda n, t: product(n).update(kind="Exec"),
    "no operations": lambda n, t: n.update(operations=[]),
    "a loop": lambda n, t: product(n).update(inputs=[product(n)["output"]]),
    "an unknown value": lambda n, t: norm(n).update(inputs=["nowhere"]),
    "one value twice": lambda n, t: norm(n).update(output="input"),
    "two inputs": lambda n, t: norm(n).update(inputs=["input", "input"]),
    "an option less": lambda n, t: product(n)["options"].pop("groups"),
    "no groups": lambda n, t: product(n)["options"].update(groups=0),
    "no stride": lambda n, t: product(n)["options"]["geometry"].update(stride=[0, 1]),
    "padding without end": lambda n, t: product(n)["options"]["geometry"].update(padding=[60000] * 4),
    "a window larger than the map": lambda n, t: pool(n)["options"]["geometry"].update(kernel=[99, 99]),
    "a strange padding value": lambda n, t: product(n)["options"].update(pad_value=7),
    "weights of another shape": lambda n, t: product(n)["tensors"]["weights"].update(shape=[32, 3, 3, 2]),
    "weights of more bits": lambda n, t: product(n)["tensors"]["weights"].update(bits=9),
    "a grid without end": lambda n, t: product(n)["tensors"]["weights"].update(stride=2**40),
    "a missing tensor": lambda n, t: t.pop(norm(n)["tensors"]["offset"]["tensor"]),
    "one tensor too many": lambda n, t: t.update(extra=np.zeros(3, np.float32)),
    "a norm of fewer channels": lambda n, t: norm(n)["tensors"]["offset"].update(shape=[3]),
    "NaN": lambda n, t: t.update({norm(n)["tensors"]["offset"]["tensor"]: np.full(32, np.nan, np.float32)}),
    "float64": lambda n, t: t.update({norm(n)["tensors"]["offset"]["tensor"]: np.zeros(32)}),
    "a negative step": lambda n, t: t.update({levels(n)["tensors"]["step"]["tensor"]: -np.ones(1, np.float32)}),
    "no range": lambda n, t: levels(n)["options"].update(low=5),
    "a sign for each pixel": lambda n, t: sign(n)["tensors"].update(
        shift={"tensor": norm(n)["tensors"]["offset"]["tensor"], "shape": [32, 1]}
    ),
    "a long name": lambda n, t: norm(n).update(output="x" * 300),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused(lie, written, tmp_path):
    tensors, network = parts(written)
    LIES[lie](network, tensors)
    path = tmp_path / "lies.safetensors"
    save_file(tensors, path, {ENTRY: json.dumps(network)})
    with pytest.raises(Damaged) as caught:
        PackedModel.load(path)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("text", ["", "[", "[" * 5000, "1", "null", '{"a": NaN}', "9" * 6000])
def test_a_description_that_is_none_is_refused(text, written, tmp_path):
    tensors, _ = parts(written)
    path = tmp_path / "text.safetensors"
    save_file(tensors, path, {ENTRY: text})
    with pytest.raises(Damaged):
        PackedModel.load(path)


def test_a_file_that_cannot_be_written_leaves_the_old_one(written, tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"old")

    def fail(*_, **__):
        raise OSError("disk")

    monkeypatch.setattr("bnnlib.packed.file.as_bytes", fail)
    with pytest.raises(OSError, match="disk"):
        PackedModel.load(written).save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
