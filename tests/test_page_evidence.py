"""The Evidence tab in Chromium: bars that add up, maps, and the answer without SGE."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from playwright.sync_api import expect
from visitor import ASSETS

from sge_viz.checkpoints import load_model
from sge_viz.evidence.interventions import OFF, ZEROED, Intervention, intervene
from sge_viz.evidence.ledger import ledger
from sge_viz.evidence.trace import trace
from sge_viz.images import open_picture, prepare

pytestmark = pytest.mark.browser
VALUE = "window.sgeEvidence.value"


@pytest.fixture
def evidence(visit):
    visitor = visit()
    visitor.page.get_by_role("tab", name="Evidence").click()
    visitor.page.wait_for_function("window.sgeEvidence?.value", timeout=20_000)
    return visitor


@pytest.fixture(scope="module")
def passed(model):
    picture = prepare(open_picture(ASSETS / "dog.jpg"))
    return trace(model, picture.tensor)


def test_bars_and_bias_add_up_to_the_logit_that_is_shown(evidence, model, passed):
    value = evidence.evaluate(VALUE)
    total = value["bias"] + sum(one["sge"] + one["shortcut"] for one in value["ledger"])
    assert total == pytest.approx(value["logit"], abs=1e-4)
    assert value["logit"] == pytest.approx(float(passed.logits[0].max()), abs=1e-4)
    expect(evidence.page.locator("[data-text='sum']")).to_contain_text(f"logit +{total:.3f}")
    groups = evidence.evaluate(
        "Array.from(document.querySelectorAll('.sge-bars button'), bar => +bar.dataset.group)"
    )
    totals = [
        value["ledger"][group]["sge"] + value["ledger"][group]["shortcut"] for group in groups
    ]
    assert sorted(groups) == list(range(64))
    assert totals == sorted(totals, reverse=True)


def test_a_groups_map_is_its_evidence_in_every_cell(evidence, model, passed):
    page = evidence.page
    page.locator(".sge-bars button[data-group='9']").click()
    expect(page.locator(".sge-evidence .sge-numbers")).to_contain_text("group 9")
    found = np.array(evidence.evaluate("Array.from(window.sgeEvidence.maps)")).reshape(64, 7, 7)
    expected = ledger(model, passed).evidence().total[0].numpy()
    np.testing.assert_allclose(found, expected, atol=2 * np.abs(expected).max() / 65535)
    group = page.locator("#sge-evidence-group input")
    expect(group).to_have_value("0")  # of another layer, where 9 is another group
    evidence.choose("#sge-layer", "layer4.2")
    page.locator(".sge-bars button[data-group='10']").click()
    expect(group).to_have_value("10")


def test_another_class_can_be_searched_by_name(evidence, model, passed):
    menu = evidence.page.locator("#sge-class input")
    menu.click()
    menu.press_sequentially("tiger sh")
    evidence.page.get_by_role("option", name="tiger shark").click()
    evidence.page.wait_for_function(f"{VALUE}.label === 'tiger shark'", timeout=10_000)
    assert evidence.evaluate(f"{VALUE}.logit") == pytest.approx(
        float(passed.logits[0, 3]), abs=1e-4
    )


def probabilities(model, passed, intervention):
    with intervene(model, intervention):
        return trace(model, passed.input).logits[0].softmax(0)


def test_interventions_change_the_table_as_the_network_changes(evidence, passed):
    page, model = evidence.page, load_model(device="cpu")
    best = int(passed.logits[0].argmax())
    page.locator("#sge-intervention").get_by_label("SGE off").check()
    page.locator("#sge-where").get_by_label("all layers").check()
    expect(page.locator("#sge-answers")).to_contain_text("all groups of all layers")
    off = float(probabilities(model, passed, Intervention(OFF))[best])
    expect(page.locator(".sge-answers tr").nth(1)).to_contain_text(f"{off:.1%}")

    evidence.choose("#sge-layer", "layer4.2")
    page.locator(".sge-bars button").first.click()
    group = evidence.evaluate("window.sgeEvidence.chosen")
    page.locator("#sge-intervention").get_by_label("off: gate 0").check()
    page.locator("#sge-where").get_by_label("one group").check()
    expect(page.locator("#sge-answers")).to_contain_text(f"group {group} of layer4.2")
    without = float(probabilities(model, passed, Intervention(ZEROED, "layer4.2", group))[best])
    expect(page.locator(".sge-answers tr").nth(1)).to_contain_text(f"{without:.1%}")


def test_a_group_that_does_not_exist_gets_a_sentence(evidence):
    page = evidence.page
    page.locator("#sge-intervention").get_by_label("its mean").check()
    page.locator("#sge-where").get_by_label("one group").check()
    page.locator("#sge-evidence-group input").fill("64")
    expect(page.locator("#sge-answers")).to_contain_text("There is no group 64")


def test_probabilities_move_within_a_moment(evidence):
    """A loose bound, because machines differ; benchmarks/page.py prints the real figures."""
    page = evidence.page
    page.locator("#sge-intervention").get_by_label("its mean").check()
    expect(page.locator("#sge-answers")).to_contain_text("own mean")
    started = time.perf_counter()
    page.locator("#sge-intervention").get_by_label("SGE off").check()
    expect(page.locator("#sge-answers")).to_contain_text(re.compile("SGE off"))
    assert time.perf_counter() - started < 3


def test_faithfulness_curves_are_drawn_for_one_picture(evidence):
    page = evidence.page
    evidence.choose("#sge-layer", "layer4.2")
    expect(page.locator("#sge-faithfulness")).to_be_hidden()  # no empty frame before
    page.locator("#sge-measure").click()
    expect(page.locator("#sge-faithfulness img")).to_be_visible(timeout=240_000)
