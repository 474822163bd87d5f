"""The Strongest pictures tab in Chromium, over the bundled index."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import expect

from sge_viz.statistics import BadIndex, Index
from sge_viz.ui import build_page
from sge_viz.ui.strongest import BUNDLED

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def index():
    return Index.load(BUNDLED)


@pytest.fixture
def strongest(visit):
    visitor = visit()
    visitor.page.get_by_role("tab", name="Strongest pictures").click()
    visitor.page.wait_for_function("window.sgeStrongest?.value?.tiles", timeout=20_000)
    return visitor


def test_every_group_shows_what_it_looks_for(strongest, index):
    tiles = strongest.evaluate("window.sgeStrongest.value.tiles.map(tile => tile.name)")
    assert tiles == [hit.path for hit in index.tiles("layer3.5", "after")]
    expect(strongest.page.locator(".sge-tiles img")).to_have_count(64)


def test_a_click_shows_the_groups_pictures_best_first_with_their_maps(strongest, index):
    page = strongest.page
    page.locator(".sge-tiles button[data-group='22']").click()
    expect(page.locator("[data-text='hits']")).to_contain_text("Group 22")
    expected = index.strongest("layer3.5", 22, "after")
    captions = page.locator(".sge-hits figcaption").all_inner_texts()
    assert [text.split(":")[0] for text in captions] == [
        f"{rank + 1}. {hit.path}" for rank, hit in enumerate(expected)
    ]
    hits = strongest.evaluate("window.sgeStrongest.value.hits")
    assert hits[0]["before"]["top"] == pytest.approx(float(expected[0].before.max()))
    expect(page.locator(".sge-hits canvas")).to_have_count(2 * len(expected))


def test_layer_and_ranking_can_be_changed(strongest, index):
    strongest.choose("#sge-index-layer", "layer4.2")
    strongest.choose("#sge-ranking", "gate lift")
    strongest.page.wait_for_function(
        "window.sgeStrongest.value.title.includes('layer4.2') &&"
        "window.sgeStrongest.value.title.includes('lift')"
    )
    scores = strongest.evaluate("window.sgeStrongest.value.hits.map(hit => hit.score)")
    expected = [hit.score for hit in index.strongest("layer4.2", 0, "lift")]
    np.testing.assert_allclose(scores, expected)


def test_the_bundled_index_is_of_the_examples_and_of_the_default_weights(index):
    from pathlib import Path

    from sge_viz.checkpoints import Catalogue

    assets = Path(BUNDLED).parent
    assert set(index.paths) == {path.name for path in assets.glob("*.jpg")}
    assert index.provenance["checkpoint"]["name"] == Catalogue.DEFAULT.value.name


def test_a_file_that_is_no_index_is_refused_before_the_page_opens(tmp_path):
    (tmp_path / "wrong.npz").write_bytes(b"nothing")
    with pytest.raises(BadIndex, match=r"wrong\.npz"):
        build_page(index=tmp_path / "wrong.npz")
