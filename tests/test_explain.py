"""One picture explained: predictions, maps, provenance, and the files that carry them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models

from sge_viz import draw, export
from sge_viz.capture import UnknownLayerError
from sge_viz.checkpoints import Card, load_model
from sge_viz.classes import class_name
from sge_viz.explain import explain
from sge_viz.images import open_picture, prepare
from sge_viz.resnet import sge_resnet18

LOOK = {"colour_map": "viridis", "scale": "shared"}


@pytest.fixture(scope="module")
def explanation(model, cat):
    return explain(model, open_picture(cat))


def small_model(classes=10, groups=64):
    network = sge_resnet18(num_classes=classes, groups=groups).eval()
    network.card = Card(name="small", architecture="sge_resnet18", title="small", file="small.pth")
    return network


def test_predictions_are_the_softmax_of_the_networks_own_logits(model, cat, explanation):
    with torch.inference_mode():
        logits = model(prepare(open_picture(cat)).tensor)[0].double()
    expected = (logits.exp() / logits.exp().sum()).numpy()
    assert [p.index for p in explanation.predictions] == list(np.argsort(-expected)[:5])
    for prediction in explanation.predictions:
        assert prediction.probability == pytest.approx(expected[prediction.index], rel=1e-4)
    categories = models.ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    assert [p.label for p in explanation.predictions] == [
        categories[p.index] for p in explanation.predictions
    ]


def test_the_weights_that_know_cats_best_find_one(cat):
    found = explain(load_model("sge_resnet50_stopgap", "cpu"), open_picture(cat)).predictions
    assert found[0].label == "tabby"


def test_explanation_holds_every_layer_with_both_names(explanation):
    assert len(explanation.maps) == 16
    assert explanation.default_layer == "layer3.5"
    assert explanation.layer_title("layer1.0") == "layer1.0: stage 2 (conv2_x), 56x56"
    assert explanation.layer_title("layer4.2") == "layer4.2: stage 5 (conv5_x), 7x7"
    with pytest.raises(UnknownLayerError, match=r"no layer 'layer5.0'.*layer3\.5"):
        explanation.chosen("layer5.0")


def test_only_the_chosen_layers_are_kept_when_asked(model, cat):
    found = explain(model, open_picture(cat), chosen=["layer4.2"])
    assert list(found.maps) == ["layer4.2"]


def test_a_head_of_another_size_has_numbers_for_names(cat):
    found = explain(small_model(classes=3), open_picture(cat))
    assert len(found.predictions) == 3
    assert found.predictions[0].label.startswith("class ")
    assert class_name(281, 1000) == "tabby"


def test_plain_network_has_norms_and_no_gate(cat):
    network = models.resnet18(num_classes=10).eval()
    network.card = Card(name="plain", architecture="resnet18", title="plain", file="plain.pth")
    found = explain(network, open_picture(cat))
    assert found.maps["layer3.1"].gate is None
    with np.load(io.BytesIO(export.npz_bytes(found, "layer3.1"))) as arrays:
        assert set(arrays) == {"before", "concentration_before", "manifest"}
    for data in (draw.grid(found, "layer3.1", **LOOK), draw.group(found, "layer3.1", 5, **LOOK)):
        assert Image.open(io.BytesIO(data)).format == "PNG"
    assert draw.histogram(found, "layer3.1", None, "pdf", logarithmic=False).startswith(b"%PDF")


def test_arrays_carry_a_manifest_that_says_how_to_make_them_again(explanation, cat):
    data = export.npz_bytes(explanation, "layer3.5")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["after"], arrays["gate"] * arrays["before"], rtol=1e-6)
        assert arrays["gamma"].shape == arrays["concentration_after"].shape == (64,)
        manifest = json.loads(str(arrays["manifest"]))
    again = explain(load_model(manifest["checkpoint"]["name"], "cpu"), open_picture(cat))
    torch.testing.assert_close(
        again.maps[manifest["layer"]].before, explanation.maps["layer3.5"].before
    )
    assert manifest["picture"]["name"] == "cat.jpg"
    assert manifest["input_size"] == [224, 224]
    assert manifest["checkpoint"]["published_weights"] is False
    assert set(manifest["versions"]) >= {"sge_viz", "torch", "torchvision", "numpy"}


def test_nothing_handed_out_carries_the_pictures_metadata(model, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "SECRETCAMERA"
    exif.get_ifd(0x8825)[1] = "N"
    path = tmp_path / "gps.jpg"
    Image.new("RGB", (300, 280), "green").save(path, exif=exif)
    found = explain(model, open_picture(path), chosen=["layer4.2"])
    row = draw.row(found, "layer4.2")
    names = {"layer": "layer4.2", "checkpoint": "c"}
    files = [
        export.npz_bytes(found, "layer4.2"),
        draw.grid(found, "layer4.2", **LOOK),
        draw.group(found, "layer4.2", 0, **LOOK),
        draw.figure2([row], [0], "svg", **names, **LOOK),
    ]
    for data in files:
        assert b"SECRETCAMERA" not in data
        assert str(tmp_path).encode() not in data


@pytest.mark.parametrize("colour", ["black", "white", (10, 20, 30)])
def test_one_colour_and_one_pixel_run_to_the_end(model, colour):
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1), colour).save(buffer, "PNG")
    found = explain(model, open_picture(buffer.getvalue()), chosen=["layer3.5", "layer4.2"])
    for maps in found.maps.values():
        assert torch.isfinite(maps.after).all()
    assert draw.grid(found, "layer4.2", **LOOK)


def test_example_pictures_are_all_explained(model):
    for path in sorted((Path(__file__).parents[1] / "assets").glob("*.jpg")):
        found = explain(model, open_picture(path), chosen=["layer3.5"])
        assert found.maps["layer3.5"].before.shape == (1, 64, 14, 14)
