"""Faithfulness measured where the answer is known beforehand."""

import math

import numpy as np
import pytest
import torch
from evidence_networks import network
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sge_viz.evidence.faithfulness import Curve, blurred, faithfulness, pixel_order
from sge_viz.evidence.imputation import impute
from sge_viz.evidence.ledger import ledger
from sge_viz.evidence.saliency import grad_cam, saliency, strongest_group
from sge_viz.evidence.summary import interval, summarise
from sge_viz.evidence.trace import trace
from sge_viz.images import open_picture, prepare

SIDE, PATCH = 32, (slice(8, 16), slice(16, 24))


class PatchNetwork(nn.Module):
    """Its logit is exactly the mean of one 8x8 patch of the first channel; the other logit is 0."""

    def forward(self, x):
        seen = x[:, 0, PATCH[0], PATCH[1]].mean((1, 2))
        return torch.stack([4 * seen, torch.zeros_like(seen)], 1)


def patch_map(inside: float, outside: float) -> torch.Tensor:
    values = torch.full((SIDE, SIDE), outside)
    values[PATCH] = inside
    return values


@pytest.fixture
def ones():
    return torch.ones(1, 3, SIDE, SIDE)


def p(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def test_the_planted_patch_gives_the_known_curves(ones):
    """1/16 of the pixels matters: what a right map and its opposite must give is arithmetic."""
    maps = {"right": patch_map(1, 0), "wrong": patch_map(0, 1)}
    found = faithfulness(PatchNetwork(), ones, maps, 0, steps=16)
    on, off = p(4), 0.5
    right, wrong = found["right"], found["wrong"]
    assert right.deletion.probabilities == pytest.approx([on] + [off] * 16)
    assert right.deletion.auc == pytest.approx(off + (on - off) / 2 / 16)
    assert wrong.deletion.probabilities == pytest.approx([on] * 16 + [off])
    assert wrong.deletion.auc == pytest.approx(on - (on - off) / 2 / 16)
    # All ones, blurred, are all ones: nothing to gain by inserting them.
    assert right.insertion.probabilities == pytest.approx([on] * 17)
    # Filled in from neighbours that are all one, a patch of ones comes back.
    assert right.road == pytest.approx(0, abs=0.01)


def test_insertion_and_road_on_a_patch_that_its_surroundings_do_not_tell():
    """The patch is 1 in a picture of -1: blurring and filling in destroy it, to known values."""
    x = -torch.ones(1, 3, SIDE, SIDE)
    x[:, :, *PATCH] = 1
    maps = {"right": patch_map(1, 0), "wrong": patch_map(0, 1)}
    found = faithfulness(PatchNetwork(), x, maps, 0, steps=16, road_fractions=(1 / 16, 0.5))
    start = p(4 * float(blurred(x)[0, 0][PATCH].mean()))
    assert start < p(4) - 0.01
    assert found["right"].insertion.probabilities == pytest.approx([start] + [p(4)] * 16)
    assert found["wrong"].insertion.probabilities == pytest.approx([start] * 16 + [p(4)])
    assert found["right"].most_relevant_first.probabilities[0] == pytest.approx(p(-4), abs=2e-3)
    assert found["right"].least_relevant_first.probabilities == pytest.approx([p(4)] * 2, abs=2e-3)
    assert found["right"].road == pytest.approx((p(4) - p(-4)) / 2, abs=0.06)
    assert found["wrong"].road == pytest.approx(-found["right"].road, abs=1e-3)
    assert found["right"].measures == {
        "deletion": found["right"].deletion.auc,
        "insertion": found["right"].insertion.auc,
        "road": found["right"].road,
    }


def test_a_map_that_knows_nothing_lies_between(ones):
    maps = {"right": patch_map(1, 0), "random": torch.rand(SIDE, SIDE), "wrong": patch_map(0, 1)}
    found = faithfulness(PatchNetwork(), ones, maps, 0)
    areas = [found[name].deletion.auc for name in ("right", "random", "wrong")]
    assert areas[0] < areas[1] < areas[2]
    expected = sum(p(4 * (1 - step / 16)) for step in range(17)) - (p(4) + p(0)) / 2
    assert areas[1] == pytest.approx(expected / 16, abs=0.05)


def test_a_coarse_map_is_enlarged_to_the_picture():
    order = pixel_order(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), (8, 8))
    assert sorted(order.tolist()) == list(range(64))
    assert order[0] // 8 >= 6 and order[0] % 8 >= 6
    assert order[-1] // 8 <= 1 and order[-1] % 8 <= 1
    assert pixel_order(torch.zeros(3, 3), (6, 6)).tolist() == list(range(36))


def test_the_area_is_the_trapezoids():
    curve = Curve((0.0, 0.25, 1.0), (1.0, 0.5, 0.0))
    assert curve.auc == pytest.approx(0.25 * 0.75 + 0.75 * 0.25)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 7), width=st.integers(1, 7), seed=st.integers(0, 999))
def test_imputation_equals_a_dense_solution_pixel_by_pixel(height, width, seed):
    random = np.random.default_rng(seed)
    picture, gone = random.normal(size=(3, height, width)), random.random((height, width)) < 0.6
    if gone.all():
        gone[0, 0] = False
    matrix = np.eye(height * width)
    right = picture.reshape(3, -1).T.copy()
    for y in range(height):
        for x in range(width):
            if not gone[y, x]:
                continue
            row, total = np.zeros(height * width), 0.0
            for v in range(max(y - 1, 0), min(y + 2, height)):
                for u in range(max(x - 1, 0), min(x + 2, width)):
                    if (v, u) != (y, x):
                        weight = 1 / 6 if v == y or u == x else 1 / 12
                        row[v * width + u] -= weight
                        total += weight
            matrix[y * width + x] = row / total
            matrix[y * width + x, y * width + x] = 1
            right[y * width + x] = 0
    expected = np.linalg.solve(matrix, right).T.reshape(3, height, width)
    got = impute(torch.from_numpy(picture), torch.from_numpy(gone), noise=0)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-9)


def test_imputation_keeps_what_is_there_and_adds_seeded_noise():
    picture, gone = torch.randn(3, 40, 40), torch.rand(40, 40) < 0.5
    clean, first, again = (impute(picture, gone, noise=n, seed=1) for n in (0, 0.1, 0.1))
    assert torch.equal(first[:, ~gone], picture[:, ~gone])
    assert torch.equal(first, again)
    assert not torch.equal(first, impute(picture, gone, noise=0.1, seed=2))
    assert float((first - clean)[:, gone].std()) == pytest.approx(0.1, rel=0.1)
    smooth = torch.linspace(0, 1, 40).expand(1, 40, 40).contiguous()
    middle = torch.zeros(40, 40, dtype=torch.bool)
    middle[10:30, 10:30] = True
    torch.testing.assert_close(impute(smooth, middle, noise=0), smooth), "linear stays linear"
    assert impute(picture, torch.ones(40, 40, dtype=torch.bool), noise=0).abs().max() == 0
    assert torch.equal(impute(picture, torch.zeros(40, 40, dtype=torch.bool)), picture)


def test_grad_cam_is_the_positive_class_evidence(model, cat):
    """Two independent ways to one map: Captum's gradients, and the ledger's arithmetic."""
    x = prepare(open_picture(cat)).tensor
    passed = trace(model, x, "layer4.2")
    for index in passed.logits[0].topk(2).indices.tolist():
        evidence = ledger(model, passed, index).evidence().total[0].sum(0).clamp(min=0)
        torch.testing.assert_close(
            grad_cam(model, x, index).double(), evidence, rtol=1e-4, atol=1e-6
        )


def test_every_kind_of_map(model, cat):
    x = prepare(open_picture(cat)).tensor
    last = saliency(model, x, "layer4.2")
    assert list(last.maps) == [
        "after", "before", "gate", "group evidence", "class evidence", "grad-cam", "random",
    ]  # fmt: skip
    with torch.inference_mode():
        assert last.label.index == int(model(x).argmax())
    assert last.group == strongest_group(model, trace(model, x), "layer4.2", last.label.index)
    contributions = ledger(model, trace(model, x)).contributions[0, :, 0]
    assert contributions[last.group] == contributions.max()
    torch.testing.assert_close(last.maps["after"], last.maps["gate"] * last.maps["before"])
    lower = saliency(model, x, "layer3.5", 17, 285)
    assert "group evidence" not in lower.maps
    assert (lower.group, lower.layer, lower.label.name) == (17, "layer3.5", "Egyptian cat")
    assert lower.maps["after"].shape == lower.maps["random"].shape == (14, 14)
    assert all(values.dtype == torch.float64 for values in lower.maps.values())
    plain = saliency(network("resnet18"), torch.randn(1, 3, 64, 64), "layer4.1", 3)
    assert list(plain.maps) == ["before", "group evidence", "class evidence", "grad-cam", "random"]


def test_refusals_are_sentences(model, ones):
    good = {"map": torch.rand(4, 4)}
    with pytest.raises(ValueError, match=r"one picture, of shape \(1, 3, H, W\)"):
        faithfulness(PatchNetwork(), ones.expand(2, -1, -1, -1), good, 0)
    with pytest.raises(ValueError, match="'map' must be one"):
        faithfulness(PatchNetwork(), ones, {"map": torch.full((4, 4), torch.nan)}, 0)
    with pytest.raises(ValueError, match="fractions between 0 and 1"):
        faithfulness(PatchNetwork(), ones, good, 0, road_fractions=(0.5, 1.0))
    with pytest.raises(ValueError, match="at least one step"):
        faithfulness(PatchNetwork(), ones, good, 0, steps=0)
    x = torch.randn(1, 3, 64, 64)
    with pytest.raises(ValueError, match="no group 64: they are 0 to 63"):
        saliency(model, x, "layer4.2", 64)
    with pytest.raises(KeyError):
        saliency(model, x, "layer4.9")
    with pytest.raises(ValueError, match="one picture"):
        saliency(model, torch.randn(2, 3, 64, 64), "layer4.2")


def test_the_interval_covers_as_often_as_it_says():
    random = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        found = interval(random.normal(3, 1, 40).tolist(), resamples=500, seed=seed)
        assert found.low < found.mean < found.high
        hits += found.low <= 3 <= found.high
    assert 0.88 <= hits / 200 <= 0.99
    assert interval([2.0]) == interval([2.0])
    assert (interval([2.0]).mean, interval([2.0]).low, interval([2.0]).high) == (2.0, None, None)
    with pytest.raises(ValueError, match="at least one picture"):
        interval([])


def test_a_folder_is_summarised_by_map_and_measure(ones):
    results = [
        faithfulness(PatchNetwork(), scale * ones, {"right": patch_map(1, 0)}, 0, steps=4)
        for scale in (0.5, 1.0, 1.5)
    ]
    table = summarise(results)
    assert set(table["right"]) == {"deletion", "insertion", "road"}
    deletion = table["right"]["deletion"]
    values = [result["right"].deletion.auc for result in results]
    assert (deletion.mean, deletion.pictures) == (pytest.approx(np.mean(values)), 3)
    assert min(values) <= deletion.low <= deletion.mean <= deletion.high <= max(values)
