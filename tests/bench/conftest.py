from importlib.metadata import PackageNotFoundError, distribution

import pytest

from bnnlib.bench import pairs


@pytest.fixture
def nothing_optional(monkeypatch):
    """As on a machine that has none of the software that does not come with the course."""

    def only_ours(package):
        if package in ("bnn-lab", "onnx", "onnxruntime", "openvino"):
            raise PackageNotFoundError(package)
        return distribution(package)

    monkeypatch.setattr(pairs, "distribution", only_ours)
