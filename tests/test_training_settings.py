"""Settings, the order of the pictures, and what the optimiser does to which parameter."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from sge_viz.sge import SpatialGroupEnhance
from sge_viz.statistics.team import Team
from sge_viz.training.optimiser import make_optimiser, set_rate
from sge_viz.training.settings import BadSettings, Settings, usual_precision
from sge_viz.training.student import Student
from sge_viz.training.task import generator, places
from tests.training_example import small_network

PLAIN = Settings(task="distil")


def every_setting():
    """A run in which no setting has its usual value."""
    return Settings(
        task="supervised",
        architecture="resnet50",
        start="a" * 64,
        images=1000,
        batch=10,
        phases=((96, 0.25), (224, 0.75)),
        optimiser="sgd",
        rate=0.1,
        sge_rate=10.0,
        momentum=0.8,
        weight_decay=1e-4,
        schedule="steps",
        milestones=(0.5, 0.8),
        warm_up=0.1,
        ema=0.99,
        label_share=0.25,
        repeats=(("dogs", 2), ("cats", 3)),
        area=(0.08, 0.9),
        blur=0.25,
        seed=7,
        precision="float32",
        compile=False,
    )


def test_settings_come_back_from_their_text():
    for settings in (PLAIN, every_setting()):
        again = Settings.from_text(settings.text())
        assert again == settings and hash(again) == hash(settings)


@pytest.mark.parametrize(
    ("has", "precision"),
    [
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, "float32"),
        ({"avx512_bf16": True, "amx_bf16": False}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"neon": True, "bf16": True}, "bfloat16"),
    ],
)
def test_the_usual_precision_is_one_that_the_processor_has(has, precision, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert usual_precision("cpu") == precision


def test_every_difference_is_named():
    """Each setting in turn is the only one that differs."""
    other = every_setting()
    assert PLAIN.difference(PLAIN) == ""
    names = [name for name in vars(PLAIN) if name != "seed"]
    for name in [*names, "seed"]:
        changed = replace(PLAIN, **{name: getattr(other, name)})
        wanted = f"{name} {getattr(other, name)} instead of {getattr(PLAIN, name)}"
        assert PLAIN.difference(changed) == wanted
    assert PLAIN.difference(other).count(" instead of ") == len(vars(PLAIN))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"optimiser": "lamb"}, "optimiser 'lamb' .choose adamw or sgd"),
        ({"schedule": "linear"}, "schedule 'linear' .choose cosine or steps"),
        ({"precision": "int4"}, "precision 'int4' .choose bfloat16 or float32"),
        ({"images": 0}, "0 images in batches of 64"),
        ({"batch": 0}, "in batches of 0"),
        ({"phases": ()}, "add up to 0 "),
        ({"phases": ((224, 0.5), (96, 0.4))}, "add up to 0.9 "),
        ({"phases": ((224, 1.5), (96, -0.5))}, "phases whose shares"),
        ({"phases": ((224, math.nan),)}, "add up to nan"),
        ({"phases": ((16, 1.0),)}, "side below 32"),
        ({"rate": 0.0}, "learning rate 0 "),
        ({"rate": math.inf}, "learning rate inf"),
        ({"rate": math.nan}, "learning rate nan"),
        ({"sge_rate": -1.0}, "factor of -1 on the rate of gamma"),
        ({"momentum": 1.0}, "momentum of 1 "),
        ({"weight_decay": -0.1}, "weight decay of -0.1"),
        ({"ema": 1.0}, "factor 1 of the moving average"),
        ({"ema": -0.1}, "factor -0.1 of the moving average"),
        ({"label_share": 1.5}, "label share of 1.5"),
        ({"blur": -0.1}, "share of -0.1 of blurred views"),
        ({"warm_up": 1.0}, "warm-up of 1 "),
        ({"repeats": (("dogs", 0),)}, "shown less than once"),
        ({"area": (0.0, 1.0)}, "views of .0.0, 1.0. of a picture"),
        ({"area": (0.5, 0.4)}, "views of .0.5, 0.4."),
        ({"area": (0.5, 1.1)}, "views of .0.5, 1.1."),
    ],
)
def test_an_impossible_setting_is_a_sentence(wrong, sentence):
    with pytest.raises(BadSettings, match=f"These settings cannot be used: .*{sentence}"):
        replace(PLAIN, **wrong)


def test_the_last_batch_may_pass_the_number_of_views():
    assert [replace(PLAIN, images=n).steps for n in (1, 63, 64, 65, 640)] == [1, 1, 1, 2, 10]


def test_each_phase_has_its_share_of_the_steps():
    settings = replace(PLAIN, images=100, batch=1, phases=((96, 0.35), (128, 0.3), (224, 0.35)))
    sides = [settings.side(step) for step in range(100)]
    assert sides == [96] * 35 + [128] * 30 + [224] * 35
    assert settings.spans() == [(96, range(35)), (128, range(35, 65)), (224, range(65, 100))]


@given(st.integers(1, 60), st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any))
def test_every_step_has_the_side_of_its_phase(images, parts):
    phases = tuple((32 * (n + 1), part / sum(parts)) for n, part in enumerate(parts))
    settings = replace(PLAIN, images=images, batch=1, phases=phases)
    told = [side for side, steps in settings.spans() for _ in steps]
    assert told == [settings.side(step) for step in range(images)]
    for side, share in phases:
        assert abs(told.count(side) - share * images) <= 1


@pytest.mark.parametrize("warm_up", [0.0, 0.1])
@pytest.mark.parametrize("schedule", ["cosine", "steps"])
def test_the_rate_follows_its_formula(schedule, warm_up):
    options = {"schedule": schedule, "warm_up": warm_up, "milestones": (0.3, 0.6, 0.9)}
    settings = replace(PLAIN, images=200, batch=1, **options)
    for step in range(200):
        done = (step + 0.5) / 200
        if done < warm_up:
            wanted = done / warm_up
        elif schedule == "cosine":
            wanted = 0.5 + 0.5 * math.cos(math.pi * (done - warm_up) / (1 - warm_up))
        else:
            wanted = (1, 0.1, 0.01, 0.001)[(done > 0.3) + (done > 0.6) + (done > 0.9)]
        assert settings.rate_at(step) == pytest.approx(wanted)


def test_the_published_schedule():
    """100 epochs, a tenth after 30, 60 and 90."""
    published = replace(PLAIN, images=100 * 40, batch=1, schedule="steps", warm_up=0.0)
    first = {step // 40 for step in range(1, 4000) if published.rate_at(step) < 0.5}
    assert min(first) == 30
    assert [published.rate_at(epoch * 40) for epoch in (29, 30, 59, 60, 89, 90)] == pytest.approx(
        [1, 0.1, 0.1, 0.01, 0.01, 0.001]
    )


@examples(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 30),
    share=st.integers(1, 7),
    size=st.integers(1, 4),
    seed=st.integers(0, 10**6),
)
def test_every_picture_comes_once_a_pass_however_many_processes_there_are(
    length, share, size, seed
):
    settings = replace(PLAIN, batch=share * size, images=10**6, seed=seed)
    seen = []
    for step in range(1 + 3 * length // settings.batch):
        alone = places(length, settings, step, Team())
        shares = [places(length, settings, step, Team(rank, size)) for rank in range(size)]
        assert {len(mine) for mine in shares} == {share}
        assert [picture for mine in shares for picture in mine] == alone
        seen += alone
    for begin in range(0, len(seen) - length + 1, length):
        assert sorted(seen[begin : begin + length]) == list(range(length))


def test_passes_and_seeds_have_orders_of_their_own():
    settings = replace(PLAIN, batch=50)
    orders = [places(50, settings, step, Team()) for step in (0, 1, 2)]
    orders.append(places(50, replace(settings, seed=1), 0, Team()))
    assert len({tuple(order) for order in orders}) == 4
    assert places(50, settings, 0, Team()) == orders[0]


def test_a_batch_that_cannot_be_shared_out_is_a_sentence():
    with pytest.raises(BadSettings, match="A batch of 64 cannot be shared out to 3 processes"):
        places(100, PLAIN, 0, Team(1, 3))


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=4))
def test_generators_of_neighbours_differ(numbers):
    def draw(*key):
        return torch.randint(2**62, (), generator=generator(*key)).item()

    assert draw(*numbers) == draw(*numbers)
    for index in range(len(numbers)):
        other = [n + (i == index) for i, n in enumerate(numbers)]
        assert draw(*other) != draw(*numbers)
    assert draw(*numbers, 0) != draw(*numbers)


def kinds_of(optimiser, settings):
    student = Student(small_network(11), (torch.zeros(11, 4), torch.zeros(11)))
    made = make_optimiser(student, replace(settings, optimiser=optimiser))
    names = {parameter: name for name, parameter in student.named_parameters()}
    kinds = {
        names[parameter]: (kind["factor"], kind["weight_decay"])
        for kind in made.param_groups
        for parameter in kind["params"]
    }
    assert sum(len(kind["params"]) for kind in made.param_groups) == len(kinds) == len(names)
    return student, made, kinds


@pytest.mark.parametrize(("optimiser", "all_decay"), [("adamw", False), ("sgd", True)])
def test_what_decays_and_what_has_a_rate_of_its_own(optimiser, all_decay):
    settings = replace(PLAIN, sge_rate=7.0, weight_decay=0.03)
    student, made, kinds = kinds_of(optimiser, settings)
    for path, module in student.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, SpatialGroupEnhance):
                wanted = (7.0, 0.0)
            elif name == "weight" and parameter.dim() in (2, 4):  # linear, convolution
                wanted = (1.0, 0.03)
            else:
                wanted = (1.0, 0.03 if all_decay else 0.0)
            assert kinds[f"{path}.{name}"] == wanted
    assert sum(kind == (7.0, 0.0) for kind in kinds.values()) == 8
    set_rate(made, 0.5)
    assert {kind["lr"] for kind in made.param_groups} == {0.5, 3.5}


def test_a_step_moves_gamma_and_beta_by_the_factor_and_does_not_shrink_them():
    settings = replace(PLAIN, optimiser="sgd", sge_rate=10.0, momentum=0.0, weight_decay=0.1)
    student, made, _ = kinds_of("sgd", settings)
    sge, fc = student.network.layer4[0].sge, student.network.fc
    before = sge.bias.detach().clone(), fc.weight.detach().clone()
    set_rate(made, 0.01)
    for parameter in student.parameters():
        parameter.grad = torch.ones_like(parameter)
    made.step()
    torch.testing.assert_close(sge.bias, before[0] - 0.1)
    torch.testing.assert_close(fc.weight, before[1] - 0.01 * (1 + 0.1 * before[1]))


def test_a_network_without_sge_has_no_third_kind():
    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    assert len(make_optimiser(plain, PLAIN).param_groups) == 2
    assert len(make_optimiser(plain, replace(PLAIN, optimiser="sgd")).param_groups) == 1
