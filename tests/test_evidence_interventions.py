"""Interventions change what they say, only while they last, only in their own thread."""

import threading

import pytest
import torch
from evidence_networks import hooks, network

from sge_viz.capture import capture
from sge_viz.evidence.interventions import (
    OFF,
    ZEROED,
    Constant,
    Intervention,
    Mean,
    Shuffled,
    Unchanged,
    intervene,
    parse_intervention,
)
from sge_viz.evidence.ledger import ledger, predict
from sge_viz.evidence.outcome import what_if
from sge_viz.evidence.trace import trace
from sge_viz.images import open_picture, prepare

REPLACEMENTS = [OFF, Mean(), Shuffled(3), Constant(0.3), ZEROED]


@pytest.fixture
def net():
    return network("sge_resnet18")


@pytest.fixture
def x():
    return torch.randn(2, 3, 96, 64)


def run(model, x, *interventions):
    with torch.inference_mode(), intervene(model, *interventions):
        return model(x)


def by_hand(model, x, change, layers):
    """Logits with every chosen SGE module's output computed here from its input and gate."""
    handles = []
    for path in layers:
        sge, seen = model.get_submodule(path).sge, {}

        def keep(_, __, gate, seen=seen):
            seen["gate"] = gate.clone()

        def replace(_, inputs, __, seen=seen):
            return inputs[0] * change(seen["gate"]).repeat_interleave(
                inputs[0].shape[1] // seen["gate"].shape[1], 1
            )

        handles += [
            sge.gate_point.register_forward_hook(keep),
            sge.register_forward_hook(replace),
        ]
    with torch.inference_mode():
        logits = model(x)
    for handle in handles:
        handle.remove()
    return logits


def one_group(change):
    def only_5_and_9(gate):
        result = gate.clone()
        result[:, [5, 9]] = change(gate)[:, [5, 9]]
        return result

    return only_5_and_9


CHANGES = {
    OFF: torch.ones_like,
    Mean(): lambda gate: gate * 0 + gate.mean((2, 3), keepdim=True),
    Constant(0.3): lambda gate: torch.full_like(gate, 0.3),
    ZEROED: torch.zeros_like,
}


@pytest.mark.parametrize("replacement", CHANGES, ids=str)
@pytest.mark.parametrize("groups", [None, (5, 9)])
@pytest.mark.parametrize("layers", [None, ("layer2.1",), ("layer4.1",), ("layer1.0", "layer3.1")])
def test_equals_the_network_changed_by_hand(net, x, replacement, groups, layers):
    change = CHANGES[replacement] if groups is None else one_group(CHANGES[replacement])
    every = [f"layer{s}.{b}" for s in (1, 2, 3, 4) for b in (0, 1)]
    expected = by_hand(net, x, change, layers or every)
    intervention = Intervention(replacement, layers, groups)
    got = run(net, x, intervention)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert not torch.equal(got, run(net, x))
    outcome = what_if(net, trace(net, x), intervention)
    assert torch.equal(outcome.after.logits, got), "resuming at a block gives the very same bits"
    assert torch.equal(outcome.before.logits, run(net, x))


def test_shuffling_moves_values_and_can_be_repeated(net, x):
    gate = torch.rand(2, 64, 3, 5)
    moved = Shuffled(1)(gate)
    assert torch.equal(moved.flatten(2).sort(2).values, gate.flatten(2).sort(2).values)
    assert not torch.equal(moved, gate)
    assert torch.equal(moved, Shuffled(1)(gate))
    assert not torch.equal(moved, Shuffled(2)(gate))
    alone = Intervention(Shuffled(1), groups=7)(gate)
    assert torch.equal(alone[:, 7], moved[:, 7])
    assert torch.equal(alone[:, :7], gate[:, :7])
    position = torch.arange(15.0).view(1, 1, 3, 5).expand(2, 64, 3, 5)
    order = Shuffled(1)(position).flatten(2)
    assert torch.equal(order[0], order[1]), "all pictures alike"
    assert len({tuple(row.tolist()) for row in order[0]}) > 60, "each group has its own"
    first = run(net, x, Intervention(Shuffled(4)))
    torch.manual_seed(99)
    assert torch.equal(first, run(net, x, Intervention(Shuffled(4))))


def test_the_identity_is_bit_equal(model, cat, net, x):
    picture = prepare(open_picture(cat)).tensor
    for network_, batch in ((model, picture), (net, x), (network("resnet18"), x)):
        with torch.inference_mode():
            plain = network_(batch)
        passed = trace(network_, batch)
        for where, groups in ((None, None), ("layer3.1", None), ("layer4.1", (0, 63))):
            identity = Intervention(Unchanged(), where, groups)
            assert torch.equal(run(network_, batch, identity), plain)
            assert torch.equal(what_if(network_, passed, identity).after.logits, plain)
        assert torch.equal(what_if(network_, passed).after.logits, plain)


@pytest.mark.parametrize("replacement", REPLACEMENTS, ids=str)
@pytest.mark.parametrize("groups", [None, 17, (3, 60)])
def test_the_last_block_does_what_the_ledger_predicts(model, cat, replacement, groups):
    x = prepare(open_picture(cat)).tensor
    intervention = Intervention(replacement, "layer4.2", groups)
    passed = trace(model, x, "layer4.2")
    predicted = predict(model, passed, intervention)
    torch.testing.assert_close(run(model, x, intervention).double(), predicted, rtol=0, atol=1e-4)


def test_a_ledger_of_the_changed_network_adds_up_to_its_logits(net, x):
    intervention = Intervention(Mean(), "layer4.1")
    with intervene(net, intervention):
        passed = trace(net, x)
    torch.testing.assert_close(
        ledger(net, passed, range(7)).total, run(net, x, intervention).double(), rtol=0, atol=1e-4
    )


def test_the_answer_is_softmax_and_top5(model, cat):
    x = prepare(open_picture(cat)).tensor
    passed = trace(model, x, "layer4.2")
    outcome = what_if(model, passed, Intervention(ZEROED, "layer4.2"))
    for answer in (outcome.before, outcome.after):
        exponentials = answer.logits[0].double().exp()
        probabilities = exponentials / exponentials.sum()
        torch.testing.assert_close(answer.probabilities[0].double(), probabilities)
        ranked = sorted(range(1000), key=lambda k: -float(probabilities[k]))[:5]
        assert [one.index for one in answer.top5[0]] == ranked
        assert answer.top5[0][0].probability == pytest.approx(float(probabilities.max()), rel=1e-5)
    assert outcome.input_size == (224, 224)
    assert outcome.checkpoint == model.card.name


def test_several_interventions_act_one_after_the_other(net, x):
    first, second = Intervention(Constant(0.5), "layer2.0"), Intervention(OFF, "layer2.0", 3)
    gates = {}

    def keep(_, __, gate):
        gates["gate"] = gate

    with intervene(net, first, second):
        handle = net.layer2[0].sge.gate_point.register_forward_hook(keep)
        net(x)
        handle.remove()
    assert (gates["gate"][:, 3] == 1).all()
    assert (gates["gate"][:, [0, 63]] == 0.5).all()


def test_capture_inside_sees_the_replaced_gate(net, x):
    with torch.inference_mode(), intervene(net, Intervention(OFF)), capture(net) as seen:
        net(x)
    assert all(torch.equal(maps.after, maps.before) for maps in seen.values())


def test_nothing_stays_behind(net, x):
    plain = run(net, x)
    with pytest.raises(RuntimeError, match="stop"), intervene(net, Intervention(OFF)):
        raise RuntimeError("stop")
    with pytest.raises(RuntimeError), intervene(net, Intervention(OFF)):
        net(torch.randn(1, 5, 64, 64))
    with pytest.raises(ValueError), intervene(net, Intervention(OFF, groups=64)):
        net(x)
    with pytest.raises(KeyError), intervene(net, Intervention(OFF, "layer7.0")):
        pass
    assert hooks(net) == 0
    assert torch.equal(run(net, x), plain)


def test_other_threads_see_nothing(net, x):
    with torch.inference_mode():
        plain = net(x)
    expected = run(net, x, Intervention(ZEROED))
    start, results = threading.Barrier(3), {}

    def work(name, interventions):
        start.wait()
        answers = []
        for _ in range(15):
            with torch.inference_mode(), intervene(net, *interventions):
                answers.append(net(x))
        results[name] = answers

    jobs = {"plain": (), "zeroed": (Intervention(ZEROED),), "off": (Intervention(OFF),)}
    threads = [threading.Thread(target=work, args=job) for job in jobs.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.allclose(answer, plain, atol=1e-5) for answer in results["plain"])
    assert all(torch.allclose(answer, expected, atol=1e-5) for answer in results["zeroed"])
    assert hooks(net) == 0


def test_a_plain_network_has_no_gate_but_groups_to_take_away(x):
    plain = network("resnet18")
    before = run(plain, x)
    kept = {}
    block = plain.layer4[1]

    def zero(_, __, out):
        kept["changed"] = out.clone()
        kept["changed"][:, 8:16] = 0
        return kept["changed"].clone()

    handle = block.bn2.register_forward_hook(zero)
    with torch.inference_mode():
        expected = plain(x)
    handle.remove()
    zeroed = Intervention(ZEROED, "layer4.1", 1)
    torch.testing.assert_close(run(plain, x, zeroed), expected)
    assert not torch.equal(expected, before)
    assert torch.equal(what_if(plain, trace(plain, x), zeroed).after.logits, run(plain, x, zeroed))
    for replacement in (OFF, Mean(), Shuffled()):
        with pytest.raises(ValueError, match=r"layer1.0 has no SGE, so there is no gate"):
            run(plain, x, Intervention(replacement))


def test_a_network_compiled_as_a_whole_is_refused(net):
    compiled = torch.compile(net)
    with pytest.raises(ValueError, match="compiled as a whole"), intervene(compiled):
        pass
    with pytest.raises(ValueError, match="compiled as a whole"):
        trace(compiled, torch.randn(1, 3, 64, 64))
    net.compile()
    with pytest.raises(ValueError, match="compiled as a whole"), intervene(net):
        pass


def test_a_gate_that_is_not_let_through_is_refused(net, x, monkeypatch):
    monkeypatch.setattr(net.layer2[0].sge, "forward", lambda y: y * 0.7)
    sentence = "gate of layer2.0 did not pass through its gate_point"
    with pytest.raises(ValueError, match=sentence):
        run(net, x, Intervention(OFF))
    with pytest.raises(ValueError, match=sentence):
        trace(net, x)
    assert hooks(net) == 0


@pytest.mark.parametrize("compiled", [False, True])
def test_compiled_sge_modules_are_intervened_in_too(x, compiled):
    from sge_viz.resnet import sge_resnet18

    model = sge_resnet18(num_classes=7).eval()
    for block in model.layer4:  # one size of map to compile
        block.sge.compiled = compiled
    model.load_state_dict(network("sge_resnet18").state_dict())
    with torch.inference_mode():
        plain = model(x)
    same = run(model, x, Intervention(Unchanged()))
    if compiled:  # one graph gives way to several, which round differently
        torch.testing.assert_close(same, plain, rtol=1e-5, atol=1e-5)
    else:
        assert torch.equal(same, plain)
    for replacement in (OFF, ZEROED):
        expected = run(network("sge_resnet18"), x, Intervention(replacement))
        got = run(model, x, Intervention(replacement))
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("off", Intervention(OFF)),
        ("mean@layer3.5", Intervention(Mean(), "layer3.5")),
        ("mean@layer3.5.sge", Intervention(Mean(), "layer3.5")),
        ("shuffled", Intervention(Shuffled(0))),
        ("shuffled=7@layer4.2/17,21", Intervention(Shuffled(7), "layer4.2", (17, 21))),
        ("constant=-0.5/3", Intervention(Constant(-0.5), None, 3)),
        ("zeroed@layer4.1,layer4.2", Intervention(ZEROED, ("layer4.1", "layer4.2"))),
    ],
)
def test_interventions_are_read_from_words(text, expected):
    assert parse_intervention(text) == expected


@pytest.mark.parametrize(
    "text", ["", "on", "constant", "constant=x", "constant=nan", "off=1", "off/a", "zeroed/1.5"]
)
def test_other_words_are_refused(text):
    with pytest.raises(ValueError, match="is no intervention: write KIND"):
        parse_intervention(text)


@pytest.mark.parametrize("group", [-1, 64, "a", float("nan"), 1.0])
def test_groups_that_do_not_exist_are_refused(net, x, group):
    with pytest.raises(ValueError, match=r"no group|whole number"):
        run(net, x, Intervention(OFF, groups=group))


def test_an_intervention_needs_somewhere_to_act():
    for where in ({"layers": ()}, {"groups": []}):
        with pytest.raises(ValueError, match="at least one layer and one group"):
            Intervention(OFF, **where)
    with pytest.raises(ValueError, match="any finite number, not inf"):
        Constant(float("inf"))
