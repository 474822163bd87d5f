"""A variant is the method with a part changed; the original and other threads keep theirs."""

import dataclasses

import pytest
import torch
from evidence_networks import hooks, network
from torch import Tensor

from sge_viz.capture import capture
from sge_viz.evidence.interventions import Constant, Intervention, intervene
from sge_viz.evidence.ledger import ledger
from sge_viz.evidence.trace import trace
from sge_viz.evidence.variants import group_counts, variant


def gates(model, x):
    """Every SGE module's input and the gate it used."""
    found, handles = {}, []
    for path, module in model.named_modules():
        if hasattr(module, "gate_point"):
            seen = found[path] = {}

            def keep_gate(_, __, out, seen=seen):
                seen["gate"] = out.double()

            def keep_input(_, inputs, __, seen=seen):
                seen["x"] = inputs[0].double()

            handles.append(module.gate_point.register_forward_hook(keep_gate))
            handles.append(module.register_forward_hook(keep_input))
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return found


def naive_gate(x: Tensor, gamma: list, beta: list, *, normalise: bool = True) -> Tensor:
    """The definition in plain float64 loops, for any lists of gammas and betas."""
    groups, (batch, channels, height, width) = len(gamma), x.shape
    size = channels // groups
    result = torch.empty(batch, groups, height, width, dtype=torch.float64)
    for b in range(batch):
        for g in range(groups):
            y = x[b, g * size : (g + 1) * size].reshape(size, -1)
            s = (y.mean(1)[:, None] * y).sum(0)
            if normalise:
                s = (s - s.mean()) / (s.std() + 1e-5)
            result[b, g] = torch.sigmoid(gamma[g] * s + beta[g]).view(height, width)
    return result


@pytest.fixture
def net():
    return network("sge_resnet18")


@pytest.fixture
def x():
    return torch.randn(1, 3, 64, 96)


def test_without_normalisation(net, x):
    for path, seen in gates(variant(net, normalise=False), x).items():
        sge = net.get_submodule(path)
        expected = naive_gate(
            seen["x"], sge.weight.flatten().tolist(), sge.bias.flatten().tolist(), normalise=False
        )
        torch.testing.assert_close(seen["gate"], expected, rtol=0, atol=1e-4)


def test_gamma_at_its_initial_value_is_a_constant_gate(net, x):
    for path, seen in gates(variant(net, gamma="initial"), x).items():
        beta = net.get_submodule(path).bias.double()
        torch.testing.assert_close(
            seen["gate"], beta.sigmoid().expand_as(seen["gate"]), rtol=0, atol=1e-6
        )
    both = variant(net, gamma="initial", beta="initial")
    expected = 1 / (1 + torch.tensor(-1.0).exp())
    assert all(torch.allclose(s["gate"], expected.double()) for s in gates(both, x).values())
    with torch.inference_mode(), intervene(net, Intervention(Constant(float(expected)))):
        torch.testing.assert_close(both(x), net(x), rtol=1e-4, atol=1e-5)


def test_beta_at_its_initial_value(net, x):
    for path, seen in gates(variant(net, beta="initial"), x).items():
        gamma = net.get_submodule(path).weight.flatten().tolist()
        expected = naive_gate(seen["x"], gamma, [1.0] * 64)
        torch.testing.assert_close(seen["gate"], expected, rtol=0, atol=1e-4)


def carried(values: Tensor, channels: int, groups: int) -> list[float]:
    """Every channel's own value, averaged over the channels of each new group."""
    old = values.flatten().tolist()
    each = [old[c * len(old) // channels] for c in range(channels)]
    size = channels // groups
    return [sum(each[g * size : (g + 1) * size]) / size for g in range(groups)]


@pytest.mark.parametrize("groups", [1, 2, 16, 32])
def test_fewer_groups_take_averages(net, x, groups):
    for path, seen in gates(variant(net, groups=groups), x).items():
        sge, channels = net.get_submodule(path), seen["x"].shape[1]
        gamma, beta = (carried(p, channels, groups) for p in (sge.weight, sge.bias))
        torch.testing.assert_close(
            torch.tensor(gamma), sge.weight.view(groups, -1).mean(1), rtol=1e-5, atol=1e-6
        )
        expected = naive_gate(seen["x"], gamma, beta)
        torch.testing.assert_close(seen["gate"], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("groups", [64, 128, 512])
def test_more_groups_up_to_one_a_channel_repeat_theirs(net, x, groups):
    changed = variant(net, groups=groups, layers=["layer4.0", "layer4.1"])
    old, new = net.layer4[1].sge, changed.layer4[1].sge
    assert torch.equal(new.weight.flatten(), old.weight.flatten().repeat_interleave(groups // 64))
    assert torch.equal(new.bias.flatten(), old.bias.flatten().repeat_interleave(groups // 64))
    seen = gates(changed, x)["layer4.1.sge"]
    expected = naive_gate(seen["x"], new.weight.flatten().tolist(), new.bias.flatten().tolist())
    torch.testing.assert_close(seen["gate"], expected, rtol=0, atol=1e-4)
    assert changed.layer3[1].sge is not net.layer3[1].sge
    assert changed.layer3[1].sge.weight is net.layer3[1].sge.weight


def test_groups_that_cut_across_the_trained_ones(net):
    """48 groups of 192 channels, from 64: neither number divides the other."""
    from sge_viz.evidence.variants import _adapted
    from sge_viz.sge import SpatialGroupEnhance

    old = SpatialGroupEnhance(64)
    torch.nn.init.normal_(old.weight)
    new = _adapted(old, "block", 192, 48, normalise=True)
    torch.testing.assert_close(
        new.weight.flatten(), torch.tensor(carried(old.weight, 192, 48)), rtol=1e-5, atol=1e-6
    )


def test_the_counts_offered_are_those_that_work(net):
    assert group_counts(net) == (1, 2, 4, 8, 16, 32, 64)
    assert group_counts(net, "layer4.1")[-1] == 512
    for groups in (0, -4, 3, 128):
        with pytest.raises(ValueError, match=f"{groups} groups do not divide the 64 channels"):
            variant(net, groups=groups)


def test_everything_else_works_on_a_variant(net, x):
    changed = variant(net, groups=16)
    with torch.inference_mode(), capture(changed) as seen:
        logits = changed(x)
    assert seen["layer3.1"].gate.shape == (1, 16, 4, 6)
    book = ledger(changed, trace(changed, x), range(7))
    assert book.contributions.shape == (1, 16, 7)
    torch.testing.assert_close(book.total, logits.double(), rtol=0, atol=1e-4)


def test_the_original_stays_and_tensors_are_shared(net, x):
    with torch.inference_mode():
        plain = net(x)
    with capture(net):  # its hooks must not travel
        changed = variant(net, normalise=False, gamma="initial", groups=8)
    assert hooks(changed) == 0
    with torch.inference_mode():
        assert torch.equal(net(x), plain)
        assert not torch.equal(changed(x), plain)
    assert changed.conv1.weight is net.conv1.weight
    assert changed.bn1.running_mean is net.bn1.running_mean
    assert not changed.training


def test_nothing_changed_is_the_same_network(net, x):
    with torch.inference_mode():
        assert torch.equal(variant(net)(x), net(x))
        assert torch.equal(variant(net, groups=64)(x), net(x))


def test_the_card_says_untrained(model):
    assert variant(model).card is not None
    assert variant(model, groups=64).card.title == model.card.title
    changed = variant(model, normalise=False, groups=16)
    assert "no normalisation, 16 groups: untrained for this" in changed.card.title
    assert "untrained" in changed.card.name
    assert (changed.card.published, changed.card.top1, changed.card.groups) == (False, None, 16)
    assert "untrained" not in model.card.title
    one = variant(model, gamma="initial", layers="layer4.2")
    assert "gamma 0 in layer4.2: untrained" in one.card.title
    assert dataclasses.is_dataclass(one.card)


def test_refusals_are_sentences(net):
    with pytest.raises(ValueError, match="gamma is 'trained' or 'initial', not 'zero'"):
        variant(net, gamma="zero")
    with pytest.raises(ValueError, match=r"layer1.0 has no SGE, so there is no part of it"):
        variant(network("resnet18"), normalise=False)
    with pytest.raises(KeyError) as error:
        variant(net, layers="layer5.0")
    assert str(error.value).startswith("There is no layer 'layer5.0'")
