"""The Data set tab in Chromium: what `stats` measured, as figures and an audit."""

from __future__ import annotations

import shutil

import pytest
from playwright.sync_api import expect
from visitor import ASSETS, Visitor

from sge_viz.cli import main
from sge_viz.statistics import BadResult
from sge_viz.ui import build_page, launch

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of `stats` over two pictures."""
    folder, out = tmp_path_factory.mktemp("pictures"), tmp_path_factory.mktemp("run")
    for name in ("dog.jpg", "cat.jpg"):
        shutil.copy(ASSETS / name, folder)
    assert (
        main(["stats", str(folder), "--layer", "layer4.2", "--workers", "0", "--out", str(out)])
        == 0
    )
    return out


def test_a_result_is_shown_as_figures_and_checked_claims(browser, run, tmp_path):
    page_app = build_page(stats=run)
    _, url, _ = launch(page_app, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    visitor = Visitor(browser, url)
    page = visitor.page
    page.get_by_role("tab", name="Data set").click()
    expect(page.locator("#sge-figure3 img")).to_be_visible(timeout=30_000)
    expect(page.locator("#sge-figure4 img")).to_be_visible()
    for claim in ("larger variance", "strong activations kept", "weak activations shifted"):
        expect(page.locator("#sge-audit")).to_contain_text(claim)
    expect(page.locator("#sge-audit")).to_contain_text("layer4.2: stage 5 (conv5_x), 7x7")
    with page.expect_download() as waiting:
        page.locator("#sge-figure4-save").click()
    assert waiting.value.suggested_filename == "figure4_layer4.2_variance.png"
    visitor.close()
    page_app.close()


def test_the_bundled_run_is_shown_until_another_is_opened(visit):
    page = visit().page
    page.get_by_role("tab", name="Data set").click()
    expect(page.locator("#sge-figure4 img")).to_be_visible(timeout=30_000)
    expect(page.locator("#sge-audit")).to_contain_text("3200 pictures")
    expect(page.get_by_text("serve --stats run")).to_be_visible()


def test_a_file_that_is_no_result_is_refused_before_the_page_opens(tmp_path):
    (tmp_path / "wrong.npz").write_bytes(b"nothing")
    with pytest.raises(BadResult, match=r"wrong\.npz"):
        build_page(stats=tmp_path / "wrong.npz")
