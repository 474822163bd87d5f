"""Accuracy: the hits that torchvision's own preprocessing and counting give."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import datasets, models
from torchvision.transforms import v2

from sge_viz.checkpoints import Card
from sge_viz.statistics import Plan, evaluate, read_folder
from sge_viz.statistics.accuracy import outputs_of, wordnet_ids

NORMAL = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Linear(nn.Module):
    """A classifier that is quick at 224 px and says many different things."""

    def __init__(self, outputs=1000) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.fc = nn.Linear(48, outputs)

    def forward(self, x):
        return self.fc(self.pool(x).flatten(1))


def write_classes(folder, names, each=12):
    rng = np.random.default_rng(4)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            shape = (int(rng.integers(200, 400)), int(rng.integers(200, 400)), 3)
            low = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            picture = Image.fromarray(low).resize(shape[:2], Image.Resampling.BICUBIC)
            picture.save(folder / name / f"{number}.{('png', 'jpg')[number % 2]}")


def torchvision_rates(network, folder, targets):
    """Top-1 and top-5 the way torchvision's reference evaluation takes them."""
    published = v2.Compose(
        [
            v2.Resize(256),
            v2.CenterCrop(224),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(*NORMAL),
        ]
    )
    data = datasets.ImageFolder(folder, published)
    with torch.inference_mode():
        logits = network(torch.stack([picture for picture, _ in data]))
    right = torch.tensor([targets[label] for _, label in data])
    top = logits.topk(5, 1).indices.t().eq(right)
    return [100 * float(top[:k].any(0).float().mean()) for k in (1, 5)]


@pytest.mark.parametrize("naming", ["wordnet", "index", "padded"])
def test_the_same_hits_as_torchvision(tmp_path, naming):
    network = Linear(1000 if naming == "wordnet" else 7).eval()
    ids = wordnet_ids()
    names = {"wordnet": [ids[7], ids[155], ids[999]], "index": ["0", "3", "6"]}
    chosen = names.get(naming, ["000", "003", "006"])
    write_classes(tmp_path, chosen)
    targets = [7, 155, 999] if naming == "wordnet" else [0, 3, 6]
    with torch.no_grad():  # so that there are hits of both kinds
        network.fc.bias[targets] += 1.0 if naming == "wordnet" else 0.3
    found = evaluate(network, read_folder(tmp_path), Plan(accuracy=True, batch=5, shard=8))
    top1, top5 = torchvision_rates(network, tmp_path, targets)
    assert found.top1 == pytest.approx(top1, abs=1e-4)
    assert found.top5 == pytest.approx(top5, abs=1e-4)
    assert 0 < found.top1 < found.top5 and found.pictures == 36
    assert set(found.by_class) == set(chosen)
    assert found.by_class[chosen[0]][0] == 12


def test_any_network_counts_with_or_without_sge(tmp_path):
    write_classes(tmp_path, ["1", "4"], each=2)
    plain = models.resnet18(num_classes=5).eval()
    top1, _ = torchvision_rates(plain, tmp_path, [1, 4])
    found = evaluate(plain, read_folder(tmp_path))
    assert found.top1 == pytest.approx(top1, abs=1e-4) and found.top5 == 100
    assert found.published is None and "no published figure" in found.sentence()


def test_the_published_figure_stands_beside_the_measured_one(tmp_path):
    write_classes(tmp_path, ["0", "1"], each=3)
    network = Linear(7).eval()
    names = dict.fromkeys(("name", "architecture", "title", "file"), "sge_resnet50")
    card = Card(**names, top1=77.584, top5=93.664, published=True)
    network.card = card
    found = evaluate(network, read_folder(tmp_path))
    assert found.published == (77.584, 93.664)
    assert "Published on ImageNet-val: 77.584% top-1, 93.664% top-5" in found.sentence()
    assert "these are others" in found.sentence()
    assert found.plain()["published_top1_percent"] == 77.584
    network.card = dataclasses.replace(card, published=False)
    assert evaluate(network, read_folder(tmp_path)).published is None


def test_damaged_pictures_count_for_nothing(tmp_path):
    write_classes(tmp_path, ["0", "1"], each=3)
    whole = evaluate(Linear(7), read_folder(tmp_path))
    (tmp_path / "0" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    found = evaluate(Linear(7), read_folder(tmp_path))
    assert (found.top1, found.top5, found.pictures) == (whole.top1, whole.top5, 6)
    assert [refused.path for refused in found.refused] == ["0/broken.jpg"]


def test_the_ids_are_imagenets_in_their_order():
    ids = wordnet_ids()
    assert len(ids) == len(set(ids)) == 1000 and list(ids) == sorted(ids)
    known = {0: "n01440764", 1: "n01443537", 155: "n02086240", 281: "n02123045"}
    known |= {207: "n02099601", 285: "n02124075", 999: "n15075141"}
    assert {index: ids[index] for index in known} == known
    names = models.ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    assert [names[i] for i in (0, 155, 207)] == ["tench", "Shih-Tzu", "golden retriever"]


@pytest.mark.parametrize(
    ("names", "outputs", "sentence"),
    [
        ((), 1000, "no classes"),
        (("n02086240", "n99999999"), 1000, "n99999999: not among"),
        (("n02086240",), 7, "this network has 7 outputs"),
        (("n02086240", "155"), 1000, "n02086240: name every class folder"),
        (("cats", "dogs"), 1000, "cats, dogs: name every class folder"),
        (("0", "7"), 7, "7: the network's classes are 0 to 6"),
        (("1", "01"), 7, "same class index"),
    ],
)
def test_names_that_are_no_classes_are_sentences(names, outputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        outputs_of(names, outputs)
