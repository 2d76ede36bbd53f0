"""Shared set-up: whole data sets where the machine has them, and no network ever."""

import os
import shutil
import socket
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"
if "BNNLIB_DATA" not in os.environ and SHARED.is_dir():
    os.environ["BNNLIB_DATA"] = str(SHARED)


@pytest.fixture(autouse=True)
def _only_this_machine(monkeypatch):
    """A test that would reach the network fails instead."""
    connect = socket.socket.connect

    def guarded(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise OSError(f"tests reach no network, {address} was asked for")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def sample():
    """The built-in Fashion-MNIST sample."""
    from bnnlib import data

    return data.load("FashionMNIST", "quick")


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((path for name in names if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium on this machine: install Debian's package chromium to open the pages")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync"]  # fmt: skip
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            flags.append("--no-sandbox")
        running = playwright.chromium.launch(executable_path=program, args=flags)
        yield running
        running.close()
