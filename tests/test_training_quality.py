"""What weights are worth: agreement of channels, gates and pets, against naive loops."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from sge_viz.capture import capture
from sge_viz.images import open_picture, prepare
from sge_viz.resnet import SGEBasicBlock, SGEResNet
from sge_viz.sge import SpatialGroupEnhance
from sge_viz.statistics import read_folder
from sge_viz.training.agreement import Correlations, agreement
from sge_viz.training.quality import layer_quality, pet_quality
from sge_viz.training.student import denormalised

ASSETS = Path(__file__).resolve().parents[1] / "assets"


def planted(channels, groups, strength, pictures=12, side=7, seed=0):
    """Maps in which the channels of a group share where they fire."""
    draw = torch.Generator().manual_seed(seed)
    shared = torch.randn(pictures, groups, side, side, generator=draw)
    own = torch.randn(pictures, channels, side, side, generator=draw)
    return strength * shared.repeat_interleave(channels // groups, 1) + own


def naive_correlations(maps):
    """Correlations of absolute values, each picture's mean taken off, by numpy."""
    values = np.abs(maps.double().numpy())
    centred = values - values.mean((2, 3), keepdims=True)
    return np.corrcoef(centred.transpose(1, 0, 2, 3).reshape(values.shape[1], -1))


def gathered(*batches):
    correlations = Correlations()
    for batch in batches:
        correlations.add(batch)
    return correlations.matrix()


def test_correlations_are_numpys_however_the_pictures_come():
    maps = planted(24, 6, 1.0)
    wanted = naive_correlations(maps)
    np.testing.assert_allclose(gathered(maps), wanted, atol=1e-5)
    np.testing.assert_allclose(gathered(maps[:5], maps[5:]), wanted, atol=1e-5)
    # What excites a channel in a whole picture says nothing of where.
    brighter = 3 + maps.abs() + torch.rand(12, 1, 1, 1)
    np.testing.assert_allclose(gathered(brighter), naive_correlations(brighter), atol=1e-4)


def test_a_channel_that_never_varies_agrees_with_none():
    maps = planted(8, 2, 1.0)
    maps[:, 3] = 2.0
    found = gathered(maps)
    assert np.isfinite(found).all() and not found[3].any() and not found[:, 3].any()
    with pytest.raises(ValueError, match="no maps to correlate"):
        Correlations().matrix()


def test_the_agreement_of_groups_is_the_mean_over_their_pairs():
    maps = planted(24, 6, 1.0)
    correlations = naive_correlations(maps)
    pairs = [
        correlations[4 * group + a, 4 * group + b]
        for group in range(6)
        for a in range(4)
        for b in range(4)
        if a != b
    ]
    found = agreement(correlations, 6, trials=200)
    assert found.groups == pytest.approx(np.mean(pairs))
    off = correlations[~np.eye(24, dtype=bool)]
    assert found.random == pytest.approx(off.mean(), abs=4 * found.random_std / 200**0.5 + 1e-9)
    assert found.random <= found.random_largest < found.groups


def test_planted_groups_are_found_and_random_channels_are_not():
    found = agreement(gathered(planted(64, 16, 0.7)), 16)
    assert found.p <= 0.001 and found.groups > found.random_largest
    shuffled = planted(64, 16, 0.7)[:, torch.randperm(64)]
    assert agreement(gathered(shuffled), 16).p > 0.01
    chance = [agreement(gathered(planted(32, 8, 0, seed=n)), 8, trials=200).p for n in range(20)]
    assert min(chance) > 0.001 and 0.2 < np.mean(chance) < 0.8
    assert agreement(gathered(planted(32, 8, 1)), 8, trials=99).p == 0.01


def test_the_random_groupings_depend_on_the_seed_alone():
    correlations = gathered(planted(32, 8, 0.3))
    one, two, other = (agreement(correlations, 8, trials=50, seed=n) for n in (4, 4, 5))
    assert one == two != other


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(7)
    network = SGEResNet(SGEBasicBlock, [1, 1, 1, 1], 1000, 8).eval()
    for module in network.modules():
        if isinstance(module, SpatialGroupEnhance):
            nn.init.normal_(module.weight)
    network.fc.weight.data.mul_(20)
    return network


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """Example pictures, one of them damaged."""
    folder = tmp_path_factory.mktemp("pets")
    for kind, stems in {"cat": ["cat", "lion"], "dog": ["dog", "raccoon", "lemur"]}.items():
        (folder / kind).mkdir()
        for stem in stems:
            shutil.copy(ASSETS / f"{stem}.jpg", folder / kind)
    (folder / "dog" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def readable(folder):
    return [folder / path for path in read_folder(folder).paths if "broken" not in path]


def keeping(before, after):
    """A hook that keeps what goes into a module and what comes out of it."""

    def keep(_, inputs, output):
        before.append(inputs[0].clone())
        after.append(output.clone())

    return keep


def test_a_layers_quality_is_what_capture_and_a_loop_give(network, pets):
    done = []
    found = layer_quality(
        network, read_folder(pets), ("layer3.0", "layer4.0"), batch=2, progress=done.append
    )
    assert done == [2, 4, 6]
    for layer in ("layer3.0", "layer4.0"):
        contrasts, before, after = [], [], []
        sge = network.get_submodule(layer).sge
        handle = sge.register_forward_hook(keeping(before, after))
        for path in readable(pets):
            with torch.inference_mode(), capture(network) as seen:
                network(prepare(open_picture(path)).tensor)
            gate = seen[layer].gate[0].flatten(1)
            contrasts.append((gate.max(1).values - gate.min(1).values).mean().item())
        handle.remove()
        quality = found[layer]
        assert len(contrasts) == 5 and np.mean(contrasts) > 0.1
        assert quality.gate_contrast == pytest.approx(np.mean(contrasts), rel=1e-4)
        assert quality.mean_abs_gamma == pytest.approx(sge.weight.abs().mean().item())
        for ours, maps in ((quality.before, before), (quality.after, after)):
            wanted = agreement(naive_correlations(torch.cat(maps)), 8)
            assert ours.groups == pytest.approx(wanted.groups, abs=1e-4)
            assert ours.random == pytest.approx(wanted.random, abs=1e-4)


def test_no_more_pictures_are_seen_than_asked_for(network, pets):
    done = []
    whole = layer_quality(network, read_folder(pets), ("layer4.0",), limit=3, progress=done.append)
    assert done == [3] and whole["layer4.0"].gate_contrast > 0


class Judge(nn.Module):
    """A teacher whose answer is a picture's mean colour, spread over 1,000 classes."""

    def __init__(self):
        super().__init__()
        self.name, self.side = SimpleNamespace(title="judge"), 64
        torch.manual_seed(8)
        self.classifier = nn.Linear(3, 1000)
        nn.init.normal_(self.classifier.weight, std=30)
        self.requires_grad_(False)

    def forward(self, pictures):
        self.seen = pictures.shape
        return pictures


def test_pets_are_counted_as_a_loop_counts_them(network, pets):
    teacher = Judge()
    found = pet_quality(network, read_folder(pets), teacher, batch=2)
    assert teacher.seen[2:] == (64, 64)
    right, met, teachers = [], [], []
    for path in readable(pets):
        x = prepare(open_picture(path)).tensor
        with torch.no_grad():
            ours = network(x)[0]
            resized = nn.functional.interpolate(
                denormalised(x), (64, 64), mode="bilinear", antialias=True
            )
            theirs = teacher.classifier(resized.mean((2, 3)))[0]
        for logits, counts in ((ours, right), (theirs, teachers)):
            scores = logits.double().softmax(0)
            dog = scores[151:269].sum() > scores[281:286].sum()
            counts.append(100.0 * (dog == (path.parent.name == "dog")).item())
        met.append(100.0 * (ours.argmax() == theirs.argmax()).item())
    assert found.pictures == 5
    assert found.cats_or_dogs == pytest.approx(np.mean(right))
    assert found.teacher_cats_or_dogs == pytest.approx(np.mean(teachers))
    assert found.teacher_met == pytest.approx(np.mean(met))


def test_a_network_that_answers_as_the_teacher_meets_it(pets):
    class Copy(nn.Module):
        def __init__(self, judge):
            super().__init__()
            self.fc = judge.classifier

        def forward(self, x):
            return self.fc(denormalised(x).mean((2, 3)))

    judge = Judge()
    found = pet_quality(Copy(judge), read_folder(pets), judge)
    assert found.teacher_met == 100 and found.cats_or_dogs == found.teacher_cats_or_dogs


def test_folders_must_be_cat_and_dog(network, tmp_path):
    (tmp_path / "lion").mkdir()
    shutil.copy(ASSETS / "lion.jpg", tmp_path / "lion")
    with pytest.raises(ValueError, match="must have the sub-folders cat and dog"):
        pet_quality(network, read_folder(tmp_path), Judge())
