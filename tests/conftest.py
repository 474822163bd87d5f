"""What the tests share: the order they run in, one network, one page and one browser."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
ASSETS = Path(__file__).resolve().parents[1] / "assets"


def pytest_collection_modifyitems(items):
    """Fast tests first: those that drive the browser come last."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(scope="session")
def model():
    """The bundled network, loaded once."""
    from sge_viz.checkpoints import load_model

    return load_model(device="cpu")


@pytest.fixture(scope="session")
def cat():
    """Path of the example picture of a cat."""
    return ASSETS / "cat.jpg"


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def served():
    """The real page on a free port: its studio and its address."""
    from sge_viz.ui import build_page, launch
    from sge_viz.ui.studio import Studio

    studio = Studio()
    page = build_page(studio)
    _, url, _ = launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield studio, url
    page.close()


def _chromium() -> str:
    unpacked = Path(__file__).resolve().parents[1] / ".venv" / "chromium" / "chromium"
    found = shutil.which("chromium") or (str(unpacked) if unpacked.exists() else None)
    assert found, "The browser tests need Chromium: `make test` installs it (tools/chromium.sh)."
    return found


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
        "--disable-background-networking --disable-component-update"
    )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=_chromium(), args=flags.split())
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, served):
    """Open windows on the page; at the end each is closed, and must have met no script error."""
    from visitor import Visitor

    visitors = []

    def open_window(**options):
        visitors.append(Visitor(browser, served[1], **options))
        return visitors[-1]

    yield open_window
    for visitor in visitors:
        visitor.close()
