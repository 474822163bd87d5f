"""The Compare tab in Chromium: an SGE network beside a plain one."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import expect
from safetensors.torch import save_file
from visitor import ASSETS, Visitor

from sge_viz.checkpoints import Catalogue, available
from sge_viz.explain import explain
from sge_viz.images import open_picture
from sge_viz.matching import match_groups
from sge_viz.ui import build_page, launch

pytestmark = pytest.mark.browser
DEFAULT = Catalogue.DEFAULT.value.name


@pytest.fixture(scope="module")
def plain(tmp_path_factory, model):
    """A folder with one more checkpoint: the bundled network without its SGE."""
    folder = tmp_path_factory.mktemp("checkpoints")
    state = {name: value for name, value in model.state_dict().items() if ".sge." not in name}
    save_file(state, folder / "plain.safetensors")
    return folder


@pytest.fixture
def compared(browser, plain, monkeypatch):
    monkeypatch.setenv("SGE_VIZ_CHECKPOINTS", str(plain))
    offered = [DEFAULT, "plain.safetensors"]
    monkeypatch.setattr(
        "sge_viz.ui.compare.available", lambda: [one for one in available() if one.name in offered]
    )
    page = build_page()
    _, url, _ = launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    visitor = Visitor(browser, url)
    visitor.page.get_by_role("tab", name="Compare").click()
    visitor.page.wait_for_function("window.sgeComparison?.value", timeout=60_000)
    yield visitor
    visitor.close()
    page.close()


def test_a_group_stands_beside_its_best_match_on_one_scale(compared, model, plain):
    from sge_viz.checkpoints import load_model

    networks = [model, load_model(plain / "plain.safetensors", "cpu")]
    pictures = [open_picture(path) for path in sorted(ASSETS.glob("*.jpg"))]
    pairs = [
        [explain(network, one, chosen=["layer3.5"]).maps["layer3.5"] for network in networks]
        for one in pictures
    ]
    expected = match_groups((first, second) for first, second in pairs)
    found = compared.evaluate("window.sgeComparison.value.matches")
    assert [one["group"] for one in found] == [group for group, _ in expected.best()]
    np.testing.assert_allclose(
        [one["correlation"] for one in found], [value for _, value in expected.best()], atol=1e-4
    )
    page = compared.page
    match = found[0]["group"]
    expect(page.locator("[data-side='second'] h3")).to_contain_text(f"group {match}")
    expect(page.locator(".sge-compare [data-text='match']")).to_contain_text("7 example pictures")
    expect(page.locator("[data-side='first'] canvas")).to_have_count(3)
    expect(page.locator("[data-side='second'] canvas")).to_have_count(1)
    page.locator(".sge-compare [data-set='match']").uncheck()
    expect(page.locator("[data-side='second'] h3")).to_contain_text("group 0")


def test_without_other_weights_the_tab_says_how_to_get_some(visit, monkeypatch):
    monkeypatch.setattr(
        "sge_viz.ui.compare.available", lambda: [one for one in available() if one.name == DEFAULT]
    )
    page = visit().page
    page.get_by_role("tab", name="Compare").click()
    expect(page.locator(".sge-refused")).to_contain_text("checkpoints fetch resnet50")
