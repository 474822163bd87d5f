"""The audit: planted distributions get the verdicts that they must get."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sge_viz.capture import Reading
from sge_viz.sge import SpatialGroupEnhance
from sge_viz.statistics import (
    LayerStatistics,
    Result,
    Settings,
    audit,
    audit_text,
    judge,
    plain_audit,
)
from sge_viz.statistics.audit import CLAIMS, Outcome
from sge_viz.statistics.bootstrap import Bootstrap, draws, interval
from sge_viz.statistics.layer import Observation, Pictures

SETTINGS = Settings(replicates=400)
GROUPS, CHANNELS, SIDE = 4, 6, 7


def planted(gate_of, pictures=60, learned=0.0):
    """Statistics of random features whose gate is a function of their norms.

    Args:
        gate_of: From norms relative to their map's mean (B, G, H, W) to gates.
        pictures: How many.
        learned: SGE's gamma, which only the control of random groups uses.
    """
    rng = np.random.default_rng(5)
    strength = rng.gamma(4, 0.25, (pictures, GROUPS, 1, SIDE, SIDE))
    direction = rng.standard_normal((pictures, GROUPS, CHANNELS, SIDE, SIDE))
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    x = torch.from_numpy((strength * direction).reshape(pictures, -1, SIDE, SIDE)).float()
    relative = torch.from_numpy(strength[:, :, 0] / strength[:, :, 0].mean((2, 3), keepdims=True))
    sge = SpatialGroupEnhance(GROUPS)
    torch.nn.init.constant_(sge.weight, learned)
    statistics = LayerStatistics(SETTINGS, GROUPS)
    for start in range(0, pictures, 16):
        part = slice(start, start + 16)
        these = Pictures(np.arange(pictures)[part], np.zeros(len(x[part]), int))
        with torch.no_grad():
            reading = Reading("planted", x[part], gate_of(relative[part]).float(), sge)
            seen = Observation.of(reading, these, SETTINGS).on_cpu(these, SETTINGS, "planted")
        statistics.add(seen, these)
    return statistics


def verdicts(statistics):
    return {verdict.claim: verdict for verdict in judge(statistics)}


def outcomes(verdict):
    return {finding.definition.name: finding.outcome for finding in verdict.findings}


def test_a_gate_that_does_all_that_the_paper_says_is_supported():
    """Strong places are amplified, weak ones wiped out: beyond a sigmoid, but planted so."""
    found = verdicts(planted(lambda r: (0.9 * r).clamp(0.05, 3)))
    assert {claim: verdict.word for claim, verdict in found.items()} == dict.fromkeys(
        CLAIMS, "supported"
    )
    for verdict in found.values():
        for finding in verdict.findings:
            assert finding.specific, finding.definition.name
            low, high = finding.sge.change.low, finding.sge.change.high
            assert low <= finding.sge.change.value <= high


def test_a_constant_gate_supports_nothing():
    """It shrinks everything alike: absolute values fall, and a mean gate does the same."""
    found = verdicts(planted(lambda r: torch.full_like(r, 0.7)))
    assert {verdict.word for verdict in found.values()} == {"not supported"}
    variance = outcomes(found["larger variance"])
    assert variance["activation variance"] is Outcome.OPPOSITE
    assert variance["coefficient of variation in a map"] is Outcome.UNDECIDED
    weak = outcomes(found["weak activations shifted toward zero"])
    assert weak["weakest tenth's norm"] is Outcome.NOT_BEYOND
    assert weak["norm kept by the weakest tenth"] is Outcome.NOT_BEYOND
    assert weak["weakest tenth's share of the total"] is Outcome.UNDECIDED


def test_a_gate_below_one_that_follows_the_norm_depends_on_the_definition():
    """What a real SGE does at best: everything shrinks, weak places more than strong ones."""
    found = verdicts(planted(lambda r: torch.sigmoid(2 * (r - 1))))
    spread = found["larger variance"]
    assert spread.word == "depends on the definition"
    kinds = {finding.definition.name: finding.definition.kind for finding in spread.findings}
    for name, outcome in outcomes(spread).items():
        if kinds[name] == "scale-free":
            assert outcome is Outcome.SUPPORTED, name
    assert outcomes(spread)["activation variance"] is Outcome.OPPOSITE
    assert found["weak activations shifted toward zero"].word == "supported"


def test_a_gate_that_favours_weak_places_is_the_opposite():
    found = verdicts(planted(lambda r: torch.sigmoid(2 * (1 - r))))
    assert {verdict.word for verdict in found.values()} == {"not supported"}
    assert set(outcomes(found["strong activations kept"]).values()) == {Outcome.OPPOSITE}


def test_a_gate_of_noise_is_no_better_than_its_shuffled_self():
    generator = torch.Generator().manual_seed(0)
    statistics = planted(lambda r: 0.2 + 0.7 * torch.rand(r.shape, generator=generator))
    found = verdicts(statistics)
    cv = outcomes(found["larger variance"])["coefficient of variation in a map"]
    assert cv is Outcome.NOT_BEYOND  # noise spreads norms too
    assert found["strong activations kept"].word == "not supported"


def test_the_values_are_those_of_the_definition_by_hand():
    statistics = planted(lambda r: torch.where(r > 1, 0.9, 0.3))
    finding = verdicts(statistics)["larger variance"].findings[0]
    for side in ("before", "after"):
        mean = statistics.pictures[side].mean[0, 3].mean()
        assert getattr(finding.sge, side).value == pytest.approx(mean, rel=1e-12)
    assert finding.groups == (0, GROUPS)
    pooled = verdicts(statistics)["larger variance"].findings[2].sge
    counts = statistics.norm_before.fold()
    second = (counts.variance + np.square(counts.mean)).mean()
    assert pooled.before.value == pytest.approx(second - counts.mean.mean() ** 2, rel=1e-9)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """95% intervals of the mean of 80 pictures, over 200 data sets."""
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        bootstrap = Bootstrap.empty(400, 1)
        bootstrap.add(draws(np.arange(80), 400, trial), rng.exponential(2, (80, 1)))
        low, high = interval(bootstrap.means()[:, 0])
        hits += low <= 2 <= high
    assert 176 <= hits <= 198


def test_draws_depend_on_seed_and_place_alone():
    places = np.array([3, 0, 7])
    one = draws(places, 200, 4)
    np.testing.assert_array_equal(one[::-1], draws(places[::-1], 200, 4))
    assert (one[:, 0] == 1).all() and not np.array_equal(one, draws(places, 200, 5))
    many = draws(np.arange(2000), 100, 0)[:, 1:]
    assert many.mean() == pytest.approx(1, abs=0.02) and many.var() == pytest.approx(1, abs=0.03)


def test_without_controls_there_is_no_verdict():
    with pytest.raises(ValueError, match="without --no-controls"):
        judge(LayerStatistics(Settings(controls=False), 2))


@pytest.fixture
def result():
    record = {
        "counted": 60,
        "classes": [],
        "weights_sha256": "0" * 64,
        "checkpoint": None,
        "layers": {"planted": {"title": "planted, 7x7", "map_size": [7, 7]}},
    }
    return Result({"planted": planted(torch.sigmoid)}, SETTINGS, record)


def test_words_and_numbers_say_the_same(result):
    text = audit_text(result)
    plain = json.loads(json.dumps(plain_audit(result), allow_nan=False))
    for verdict in audit(result, "planted"):
        assert f'"{verdict.claim}": {verdict.word}' in text
    for verdict in plain["layers"]["planted"]:
        for definition in verdict["definitions"]:
            assert f"{definition['name']} ({definition['kind']}): {definition['formula']}" in text
            assert definition["outcome"] in text
            for name in ("shuffled", "averaged", "regrouped"):
                assert set(definition[name]) == {"before", "after", "change", "excess"}
    assert "Only 60 pictures" in text
    with pytest.raises(ValueError, match="no layer 'layer9'"):
        audit_text(result, ["layer9"])
