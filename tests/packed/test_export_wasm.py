"""A packed network in WebAssembly says in a browser what it says here."""

import json

import numpy as np
import pytest
from packed.networks import trained

import bnnlib
from bnnlib import models
from bnnlib.packed.export.wasm import compiled, write_wasm


@pytest.fixture(scope="module")
def packed():
    name = "xnor-operator"
    model = trained(lambda: models.CompactCNN(name, first_last="int8"), name, (1, 28, 28))
    return bnnlib.pack(model, classes=[f"class {i}" for i in range(10)])


@pytest.mark.browser
def test_the_module_has_the_scores_of_the_packed_network_on_the_whole_sample(packed, sample, browser, tmp_path):
    write_wasm(packed, tmp_path / "Shoes.js")
    x = sample.test.inputs().numpy()
    (tmp_path / "images.js").write_text("const images = " + json.dumps([each.ravel().tolist() for each in x]))
    (tmp_path / "page.html").write_text("<script src='Shoes.js'></script><script src='images.js'></script>")
    page = browser.new_context(offline=True).new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "page.html").as_uri())
    found = page.evaluate(
        "() => { const net = new Shoes(); return images.map((x) => [net.predict(x), ...net.scores(x)]); }"
    )
    assert not errors
    found = np.array(found)
    assert len(found) == len(sample.test)
    np.testing.assert_array_equal(found[:, 0], packed.predict(x))
    np.testing.assert_array_equal(found[:, 1:].astype(np.float32), packed.scores(x))
    assert page.evaluate("[Shoes.inputs, Shoes.shape, Shoes.classes[3]]") == [784, [1, 28, 28], "class 3"]
    message = page.evaluate("() => { try { new Shoes().scores([1]); } catch (e) { return e.name + e.message; } }")
    assert message == "RangeErrorthe network takes 784 numbers, received 1"
    page.context.close()


@pytest.mark.browser
def test_a_page_may_look_at_the_sums_and_change_the_weights(packed, sample, browser, tmp_path):
    write_wasm(packed, tmp_path / "Shoes.js")
    (tmp_path / "page.html").write_text("<script src='Shoes.js'></script>")
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    x = sample.test.inputs(slice(1)).numpy()
    product = packed.operations[-3]
    assert type(product).__name__ == "Product"
    expected = packed.reference_values(x)[product.output].ravel()
    page.evaluate("(x) => { window.net = new Shoes(); window.x = x; net.scores(x); }", x.ravel().tolist())
    assert page.evaluate("[...net.sums()]") == expected.tolist()
    binary = [op.weights.values for op in packed.operations if getattr(getattr(op, "weights", 0), "bits", 0) == 1]
    layers = page.evaluate("net.layers.map(({ words, rows, bits }) => ({ words: [...words], rows, bits }))")
    assert [(layer["rows"], layer["bits"]) for layer in layers] == [(w[..., 0].size, w.shape[3]) for w in binary]
    for layer, weights in zip(layers, binary, strict=True):
        words = np.array(layer["words"], np.uint32).reshape(layer["rows"], -1)
        bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, : layer["bits"]]
        np.testing.assert_array_equal(2 * bits.astype(int) - 1, weights.reshape(-1, weights.shape[3]))
    flipped = page.evaluate("() => { for (const { words } of net.layers) words.fill(0); return [...net.scores(x)]; }")
    assert not np.array_equal(np.array(flipped, np.float32), packed.scores(x)[0])
    assert page.evaluate("[...new Shoes().scores(x)]") == packed.scores(x)[0].tolist()  # another has weights of its own
    page.close()


def test_a_module_is_small(packed):
    assert len(compiled(packed)) < packed.bytes + 24_000


def test_names_are_checked_and_zig_may_be_missing(packed, tmp_path, monkeypatch):
    for name in ("Shoes.wasm", "1a.js", "a b.js", "class.js"):
        with pytest.raises(ValueError, match=r"must be NAME\.js"):
            write_wasm(packed, tmp_path / name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="pip install ziglang"):
        write_wasm(packed, tmp_path / "Shoes.js")
    assert not list(tmp_path.iterdir())
