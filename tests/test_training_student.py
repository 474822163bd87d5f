"""The distillation loss against a naive reference in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sge_viz.images import MEAN, STD
from sge_viz.training.student import Student, Weights, denormalised, last_map, normalised
from tests.training_example import small_network

CLASSES, FEATURES = 11, 8


def softmax(logits):
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def divergence(target, logits):
    """sum t log(t / s) of one vector."""
    scores = softmax(logits)
    return sum(t * np.log(t / s) for t, s in zip(target, scores, strict=True) if t > 0)


def naive_loss(student, maps, features, labels, share):
    """Every picture and every place in turn."""

    def values(tensor):
        return tensor.detach().double().numpy()

    network = student.network
    maps, features = values(maps), values(features)
    weight, bias = values(network.fc.weight), values(network.fc.bias)
    projected, offset = values(student.projection.weight), values(student.projection.bias)
    judge, judge_bias = values(student.teacher_weight), values(student.teacher_bias)
    pooled, dense, cosines = [], [], []
    for z, f, (first, last) in zip(maps, features, labels.tolist(), strict=True):
        target = softmax(judge @ f.mean((1, 2)) + judge_bias)
        among = np.array([t if first <= k <= last else 0 for k, t in enumerate(target)])
        target = (1 - share) * target + share * among / among.sum()
        pooled.append(divergence(target, weight @ z.mean((1, 2)) + bias))
        for row in range(z.shape[1]):
            for column in range(z.shape[2]):
                here, there = z[:, row, column], f[:, row, column]
                dense.append(divergence(softmax(judge @ there + judge_bias), weight @ here + bias))
                p = projected @ here + offset
                cosines.append(p @ there / np.linalg.norm(p) / np.linalg.norm(there))
    parts = {"pooled": np.mean(pooled), "dense": np.mean(dense), "features": 1 - np.mean(cosines)}
    return parts | {"loss": parts["pooled"] + 0.5 * parts["dense"] + 2 * parts["features"]}


@pytest.fixture
def student():
    network = small_network(CLASSES)
    network.fc.weight.data.mul_(5)
    torch.manual_seed(3)
    return Student(network, (torch.randn(CLASSES, FEATURES), torch.randn(CLASSES)))


@pytest.fixture
def batch():
    torch.manual_seed(4)
    labels = torch.tensor([[3, 3], [0, 999], [2, 6], [0, 0]])
    return torch.rand(4, 3, 64, 96), torch.rand(4, FEATURES, 2, 3) * 6, labels


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_loss_is_the_naive_one(student, batch, share):
    student.eval()
    pictures, features, labels = batch
    found = student(*batch, torch.tensor(share))
    maps = last_map(student.network, normalised(pictures))
    wanted = naive_loss(student, maps, features, labels, share)
    assert {name: value.item() for name, value in found.items()} == pytest.approx(wanted, rel=1e-4)
    assert min(wanted.values()) > 0.01


def test_one_possible_class_is_a_label_and_all_classes_are_none(student, batch):
    student.eval()
    pictures, features, labels = batch

    def pooled(labels, share):
        return student(pictures, features, labels, share)["pooled"].item()

    unknown = torch.tensor([[0, 999]] * 4)
    assert pooled(unknown, 0.7) == pytest.approx(pooled(unknown, 0.0), rel=1e-6)
    assert pooled(unknown, 0.0) == pooled(labels, 0.0) != pooled(labels, 0.7)
    known = torch.tensor([[3, 3]] * 4)
    scores = student.network(normalised(pictures)).log_softmax(1)
    assert pooled(known, 1.0) == pytest.approx(-scores[:, 3].mean().item(), rel=1e-5)


def test_the_parts_have_their_weights(student, batch):
    student.eval()
    student.weights = Weights(pooled=3, dense=5, features=7)
    found = student(*batch, torch.tensor(0.5))
    wanted = 3 * found["pooled"] + 5 * found["dense"] + 7 * found["features"]
    torch.testing.assert_close(found["loss"], wanted)


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    network = small_network(CLASSES).eval()
    classifier = (network.fc.weight.detach(), network.fc.bias.detach())
    student = Student(network, classifier).eval()
    with torch.no_grad():
        student.projection.weight.copy_(torch.eye(512))
        student.projection.bias.zero_()
        pictures = torch.rand(2, 3, 64, 64)
        maps = last_map(network, normalised(pictures))
        found = student(pictures, maps, torch.tensor([[0, 999]] * 2), torch.tensor(0.5))
    assert all(abs(value.item()) < 1e-5 for value in found.values())


def test_the_last_map_is_the_networks(student, batch):
    network = student.network.eval()
    x = normalised(batch[0])
    with torch.no_grad():
        maps = last_map(network, x)
        torch.testing.assert_close(network.fc(maps.mean((2, 3))), network(x))
    assert maps.shape == (4, 512, 2, 3)


def test_normalised_is_the_published_preprocessing(batch):
    pictures = batch[0]
    x = normalised(pictures)
    for channel in range(3):
        wanted = (pictures[:, channel] - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(x[:, channel], wanted)
    torch.testing.assert_close(denormalised(x), pictures)


def test_the_teacher_is_not_kept_and_does_not_learn(student, batch):
    before = student.teacher_weight.clone()
    assert not any("teacher" in name for name in student.state_dict())
    assert not any("teacher" in name for name, _ in student.named_parameters())
    student(*batch, torch.tensor(0.5))["loss"].backward()
    assert student.teacher_weight.grad is None and torch.equal(student.teacher_weight, before)
    learning = [parameter.grad for parameter in student.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in learning)
    assert isinstance(student.projection, nn.Linear) and student.projection.weight.grad.any()
