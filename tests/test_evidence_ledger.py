"""The ledger adds up to the logit, by references that share no code with it."""

import copy

import pytest
import torch
from evidence_networks import NETWORKS, hooks, last_block, network, parts
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sge_viz.classes import UnknownClassError, find, search
from sge_viz.evidence.gradients import approximate_evidence
from sge_viz.evidence.ledger import ledger, predict
from sge_viz.evidence.trace import trace
from sge_viz.images import open_picture, prepare


@pytest.mark.parametrize("size", ["published", 256])
def test_adds_up_to_the_logits_of_a_real_picture(model, cat, size):
    x = prepare(open_picture(cat), size).tensor
    with torch.inference_mode():
        logits = model(x).double()
    top = logits[0].topk(5).indices.tolist()
    book = ledger(model, trace(model, x, "layer4.2"), top)
    assert book.contributions.shape == (1, 64, 5)
    torch.testing.assert_close(
        book.bias + book.contributions.sum(1), logits[:, top], rtol=0, atol=1e-4
    )
    for row, index in enumerate(top):
        total = book.evidence(index).total
        assert total.shape == (1, 64, x.shape[2] // 32, x.shape[3] // 32)
        torch.testing.assert_close(
            book.bias[row] + total.sum((1, 2, 3)), logits[:, index], rtol=0, atol=1e-4
        )
    assert book.classes[0].name == find(str(top[0])).name
    assert (book.layer, book.input_size) == ("layer4.2", tuple(x.shape[2:]))
    assert book.checkpoint == model.card.name


@pytest.mark.parametrize("name", NETWORKS)
def test_every_number_is_that_of_a_naive_loop(name):
    model = network(name).double()
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    book = ledger(model, trace(model, x), [3, 0])
    branch, shortcut = parts(model, x)
    groups = book.contributions.shape[1]
    size, cells = branch.shape[1] // groups, branch.shape[2] * branch.shape[3]
    weight = model.fc.weight.detach()
    for b in range(2):
        for g in range(groups):
            for k, index in enumerate((3, 0)):
                through_sge = through_shortcut = torch.zeros(branch.shape[2:], dtype=torch.float64)
                for c in range(g * size, (g + 1) * size):
                    on = (branch[b, c] + shortcut[b, c] > 0).double() * weight[index, c] / cells
                    through_sge = through_sge + on * branch[b, c]
                    through_shortcut = through_shortcut + on * shortcut[b, c]
                maps = book.evidence(index)
                torch.testing.assert_close(maps.through_sge[b, g], through_sge)
                torch.testing.assert_close(maps.through_shortcut[b, g], through_shortcut)
                torch.testing.assert_close(book.through_sge[b, g, k], through_sge.sum())
                torch.testing.assert_close(book.through_shortcut[b, g, k], through_shortcut.sum())
    with torch.no_grad():
        torch.testing.assert_close(book.total, model(x)[:, [3, 0]], rtol=0, atol=1e-10)


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(["sge_resnet18", "resnet18", "32 groups"]),
    batch=st.integers(1, 3),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    seed=st.integers(0, 99),
)
def test_adds_up_at_any_size(name, batch, height, width, seed):
    model = network(name)
    torch.manual_seed(seed)
    x = torch.randn(batch, 3, height, width)
    passed = trace(model, x)
    book = ledger(model, passed, range(7))
    torch.testing.assert_close(book.total, passed.logits.double(), rtol=1e-5, atol=1e-4)
    assert torch.equal(book.contributions, book.through_sge + book.through_shortcut)
    maps = book.evidence(4)
    assert torch.equal(maps.total, maps.through_sge + maps.through_shortcut)
    torch.testing.assert_close(maps.total.sum((2, 3)), book.contributions[..., 4])


def test_what_the_relu_stops_is_credited_to_nobody():
    model = network("sge_resnet18")
    block = last_block(model)
    with torch.no_grad():
        block.bn2.weight.zero_()
        block.bn2.bias.fill_(-1e4)  # the branch drives every cell below 0
    book = ledger(model, trace(model, torch.randn(1, 3, 64, 64)), range(7))
    assert book.through_sge.abs().max() == book.through_shortcut.abs().max() == 0
    torch.testing.assert_close(book.total[0], model.fc.bias.detach().double())


def test_an_approximation_is_exact_only_where_the_rest_is_linear():
    model = network("sge_resnet50")
    passed = trace(model, torch.randn(2, 3, 64, 64))
    approximate = approximate_evidence(model, passed, "layer4.2", [1, 5])
    book = ledger(model, passed, [1, 5])
    torch.testing.assert_close(approximate.contributions, book.through_sge, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        approximate.maps[:, 1], book.evidence(5).through_sge, rtol=1e-4, atol=1e-6
    )


def test_gradient_times_activation_is_autograds():
    """The whole network differentiated by autograd through a hook, no part of it run again."""
    model = network("sge_resnet18").double()
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    kept = []

    def keep(_, __, out):
        out.retain_grad()
        kept.append(out)
        return out * 1  # the block adds in place

    handle = model.layer3[0].sge.register_forward_hook(keep)
    model(x)[:, 2].sum().backward()
    handle.remove()
    expected = (kept[0] * kept[0].grad).unflatten(1, (64, -1)).sum(2)
    got = approximate_evidence(model, trace(model, x), "layer3.0", 2)
    torch.testing.assert_close(got.maps[:, 0], expected.detach())


def test_the_network_is_left_as_it_was():
    model = network("sge_resnet18")
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        passed = trace(model, x)
        ledger(model, passed)
        approximate_evidence(model, passed, "layer3.1")
    assert hooks(model) == 0
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda m: m.train(), "training mode"),
        (lambda m: setattr(m, "fc", nn.Sequential(m.fc, nn.ReLU())), "one linear layer"),
        (lambda m: setattr(m, "avgpool", nn.AdaptiveMaxPool2d(1)), "average over all positions"),
    ],
)
def test_where_it_would_not_be_exact_it_refuses(break_it, sentence):
    model = network("sge_resnet18")
    break_it(model)
    with pytest.raises(ValueError, match=sentence):
        ledger(model, trace(model, torch.randn(1, 3, 64, 64)))


def test_refusals_are_sentences():
    model = network("sge_resnet18")
    passed = trace(model, torch.randn(1, 3, 64, 64), "layer3.1")
    with pytest.raises(KeyError) as error:
        ledger(model, passed)
    assert str(error.value) == "'layer4.1' was not traced, only layer3.1."
    with pytest.raises(KeyError) as error:
        trace(model, torch.randn(1, 3, 64, 64), "layer9")
    assert str(error.value).startswith(
        "There is no layer 'layer9' in this network; it has layer1.0"
    )
    passed = trace(model, torch.randn(1, 3, 64, 64))
    with pytest.raises(UnknownClassError, match=r"There is no class 7: this head has 0 to 6."):
        ledger(model, passed, 7)
    with pytest.raises(UnknownClassError, match="Class 3 was not asked for"):
        ledger(model, passed, [1, 2]).evidence(3)
    with pytest.raises(ValueError, match="a ResNet has layers"):
        trace(nn.Sequential(nn.Linear(2, 2)), torch.randn(1, 3, 64, 64))
    with pytest.raises(
        ValueError, match=r"The 500 channels of layer4.1 cannot be split into 64 equal groups"
    ):
        narrow = network("resnet18")
        narrow.layer4[1].bn2 = nn.Sequential(narrow.layer4[1].bn2, nn.Conv2d(512, 500, 1))
        narrow.layer4[1].downsample = nn.Conv2d(512, 500, 1)
        narrow.fc = nn.Linear(500, 7)
        trace(narrow, torch.randn(1, 3, 64, 64))


def test_classes_by_index_and_by_name():
    assert (find("285").index, find("285").name) == (285, "Egyptian cat")
    assert find("  egyptian  CAT ").index == 285
    assert (find("crane").name, find("tabb").name) == ("crane", "tabby")
    assert [one.name for one in search("crane")] == ["crane", "crane bird"]
    assert [one.index for one in search("cat", limit=3)] == [282, 283, 284]
    assert search("") == ()
    assert find("class 3", classes=10).index == 3
    with pytest.raises(
        UnknownClassError, match="several classes, choose one by its index: 282 tiger cat"
    ):
        find("cat")
    with pytest.raises(UnknownClassError, match="No class is called 'sofa bed of nails'"):
        find("sofa bed of nails")
    with pytest.raises(UnknownClassError, match="There is no class 1000"):
        find("1000")
    with pytest.raises(UnknownClassError, match="There is no class -1"):
        find("-1")


def test_prediction_refuses_what_it_cannot_know():
    from sge_viz.evidence.interventions import OFF, Intervention

    model = network("sge_resnet18")
    passed = trace(model, torch.randn(1, 3, 64, 64))
    for layers in (None, "layer3.1", ["layer3.1", "layer4.1"]):
        with pytest.raises(ValueError, match=r"predicts interventions in layer4.1 alone"):
            predict(model, passed, Intervention(OFF, layers))
