"""All single-group ablations in one batched run equal one hooked forward pass a group."""

import pytest
import torch
from evidence_networks import hooks, network

from sge_viz.evidence.ablations import ablate_groups
from sge_viz.evidence.interventions import (
    OFF,
    ZEROED,
    Constant,
    Intervention,
    Mean,
    Shuffled,
    intervene,
)
from sge_viz.evidence.trace import trace
from sge_viz.images import open_picture, prepare


def separately(model, x, layer, replacement, groups):
    rows = []
    for group in groups:
        with torch.inference_mode(), intervene(model, Intervention(replacement, layer, group)):
            rows.append(model(x))
    return torch.stack(rows, 1)


@pytest.mark.parametrize("replacement", [ZEROED, OFF, Mean(), Shuffled(5), Constant(2)], ids=str)
@pytest.mark.parametrize("layer", ["layer4.1", "layer4.0", "layer2.1"])
def test_equal_to_64_hooked_passes(layer, replacement):
    model = network("sge_resnet18")
    x = torch.randn(2, 3, 64, 96)
    result = ablate_groups(model, trace(model, x, layer), layer, replacement)
    expected = separately(model, x, layer, replacement, range(64))
    assert result.after.shape == (2, 64, 7)
    torch.testing.assert_close(result.after, expected, rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(
        result.probability_drop,
        result.before.probabilities[:, None] - expected.softmax(2),
        rtol=1e-3,
        atol=1e-5,
    )
    assert result.after.std(1).max() > 1e-3, "groups differ by more than the tolerance"
    assert hooks(model) == 0


def test_the_bundled_network_on_a_real_picture(model, cat):
    x = prepare(open_picture(cat)).tensor
    passed = trace(model, x, ["layer3.5", "layer4.2"])
    for layer in ("layer3.5", "layer4.2"):
        groups = (0, 17, 63)
        result = ablate_groups(model, passed, layer, groups=groups)
        expected = separately(model, x, layer, ZEROED, groups)
        torch.testing.assert_close(result.after, expected, rtol=0, atol=1e-4)
        assert (result.groups, result.layer) == (groups, layer)
        assert (result.checkpoint, result.input_size) == (model.card.name, (224, 224))
        torch.testing.assert_close(
            result.logit_drop[0, 1], result.before.logits[0] - expected[0, 1]
        )


@pytest.mark.parametrize("name", ["resnet18", "32 groups", "sge_resnet50"])
@pytest.mark.parametrize("layer", ["layer4.1", "layer3.1"])
def test_other_networks(name, layer):
    model = network(name)
    x = torch.randn(1, 3, 64, 64)
    groups = (0, 9, 31)
    result = ablate_groups(model, trace(model, x), layer, groups=groups)
    expected = separately(model, x, layer, ZEROED, groups)
    torch.testing.assert_close(result.after, expected, rtol=1e-4, atol=2e-5)


def test_a_head_of_another_kind_is_run_and_not_calculated():
    model = network("sge_resnet18")
    model.fc = torch.nn.Sequential(model.fc, torch.nn.ReLU())
    x = torch.randn(1, 3, 64, 64)
    result = ablate_groups(model, trace(model, x), "layer4.1", groups=[4, 2])
    expected = separately(model, x, "layer4.1", ZEROED, [4, 2])
    torch.testing.assert_close(result.after, expected, rtol=1e-4, atol=2e-5)


def test_the_chunk_makes_no_difference():
    model = network("sge_resnet18")
    passed = trace(model, torch.randn(1, 3, 64, 64))
    one, many = (ablate_groups(model, passed, "layer3.0", chunk=n).after for n in (1, 50))
    torch.testing.assert_close(one, many, rtol=1e-4, atol=2e-5)


def test_refusals_are_sentences():
    model = network("sge_resnet18")
    passed = trace(model, torch.randn(1, 3, 64, 64), "layer4.1")
    with pytest.raises(KeyError) as error:
        ablate_groups(model, passed, "layer3.0")
    assert str(error.value) == "'layer3.0' was not traced, only layer4.1."
    with pytest.raises(ValueError, match="no group 64: they are 0 to 63"):
        ablate_groups(model, passed, "layer4.1", groups=[64])
    with pytest.raises(ValueError, match="has no SGE"):
        plain = network("resnet18")
        ablate_groups(plain, trace(plain, torch.randn(1, 3, 64, 64)), "layer4.1", OFF)
