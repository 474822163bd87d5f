"""Statistics of a layer: what is counted is what NumPy counts, and parts merge into the whole."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sge_viz.statistics import LayerStatistics, Moments, NormGrid, Settings, merge
from sge_viz.statistics.grid import GATE_BINS, gate_edges
from sge_viz.statistics.layer import Observation, Pictures
from sge_viz.statistics.measures import NAMES
from sge_viz.statistics.signals import signals

PLAIN = Settings(controls=False, replicates=100)


def batch(x, gate, places, labels, groups):
    seen = signals(torch.from_numpy(x), torch.from_numpy(gate), groups)
    return Observation(seen, {}), Pictures(np.asarray(places), np.asarray(labels))


def layer_of(x, gate, labels, groups, classes, sizes, chosen=PLAIN, first=0):
    statistics = LayerStatistics(chosen, groups, classes)
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        places = np.arange(first + start, first + start + len(x[part]))
        statistics.add(*batch(x[part], gate[part], places, labels[part], groups))
        start += size
    return statistics


def example(rng, count, groups, channels, side, scale=1.0):
    x = (scale * rng.standard_normal((count, groups * channels, side, side))).astype(np.float32)
    return x, rng.uniform(0.01, 0.99, (count, groups, side, side)).astype(np.float32)


def assert_same(one, other, rtol=1e-12):
    ours, theirs = one.arrays(), other.arrays()
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        if array.dtype.kind == "i" or name.endswith(("/low", "/high", "/weight")):
            np.testing.assert_array_equal(array, theirs[name], name)
        else:
            atol = 1e-14 * max(1e-30, np.abs(array).max(initial=0))
            np.testing.assert_allclose(array, theirs[name], rtol, atol, err_msg=name)


def test_a_thousand_pictures_against_numpy():
    rng = np.random.default_rng(0)
    groups, channels, side, classes = 3, 4, 5, 4
    x, gate = example(rng, 1000, groups, channels, side, scale=2)
    labels = rng.integers(0, classes, 1000)
    sizes = [1, 7, 92, 400, 500]
    one = layer_of(x, gate, labels, groups, classes, sizes)
    cut = [1, 7, 92], [400, 500]
    two = merge(
        layer_of(x[:100], gate[:100], labels[:100], groups, classes, cut[0]),
        layer_of(x[100:], gate[100:], labels[100:], groups, classes, cut[1], first=100),
    )
    y = x.reshape(1000, groups, channels, -1)
    before32 = signals(torch.from_numpy(x), torch.from_numpy(gate), groups).norms.flatten(2).numpy()
    np.testing.assert_allclose(before32, np.sqrt(np.square(y.astype(float)).sum(2)), rtol=3e-7)
    gates = gate.reshape(1000, groups, -1)
    after32 = gates * before32
    for statistics in (one, two):
        check_moments(statistics, before32, after32, gates, labels)
        check_counts(statistics, before32, after32, gates, labels)
        check_pictures(statistics, y.astype(float), gates.astype(float), labels)


def check_moments(statistics, before, after, gates, labels):
    values = {"norm_before": before, "norm_after": after, "gate": gates}
    for name, maps in values.items():
        moments = getattr(statistics, name)
        for label in range(statistics.classes):
            of = maps[labels == label].astype(np.float64).swapaxes(0, 1).reshape(3, -1)
            np.testing.assert_array_equal(moments.count[label], of.shape[1])
            np.testing.assert_allclose(moments.mean[label], of.mean(1), rtol=1e-12)
            np.testing.assert_allclose(moments.variance[label], of.var(1), rtol=1e-12)
            np.testing.assert_array_equal(moments.low[label], of.min(1))
            np.testing.assert_array_equal(moments.high[label], of.max(1))


def check_counts(statistics, before, after, gates, labels):
    def histogram(grid, rows, group):
        edges = np.concatenate([[-np.inf], grid.edges, [np.inf]])
        pair = before[rows, group].ravel(), after[rows, group].ravel()
        return np.histogram2d(*pair, bins=[edges, edges])[0]

    for group in range(3):
        everybody = histogram(statistics.settings.grid, slice(None), group)
        np.testing.assert_array_equal(statistics.joint.counts[group], everybody)
        for label in range(statistics.classes):
            of_class = histogram(statistics.settings.class_grid, labels == label, group)
            counted = statistics.class_joint.counts[label, group]
            np.testing.assert_array_equal(counted, of_class)
            inside = np.histogram(gates[labels == label, group], gate_edges())[0]
            np.testing.assert_array_equal(statistics.gates.counts[label, group, 1:-1], inside)


def check_pictures(statistics, y, gates, labels):
    """Figure 4's quantities from the values themselves, in float64."""
    for side, values in (("before", y), ("after", gates[:, :, None] * y)):
        variance = values.reshape(len(y), 3, -1).var(-1)
        for name, per_picture in (
            ("activation_variance", variance),
            ("activation_std", np.sqrt(variance)),
        ):
            moments = statistics.pictures[side][:]
            row = NAMES.index(name)
            for label in range(statistics.classes):
                of = per_picture[labels == label]
                np.testing.assert_allclose(moments.mean[label, row], of.mean(0), rtol=1e-6)
                np.testing.assert_allclose(moments.std[label, row], of.std(0), rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=5),
    cut=st.integers(0, 5),
    side=st.integers(1, 4),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_parts_merge_into_the_whole(seed, sizes, cut, side, scale):
    rng = np.random.default_rng(seed)
    chosen = Settings(NormGrid(-3, 3, 2), NormGrid(-3, 3, 1), replicates=100, controls=False)
    count = sum(sizes)
    x, gate = example(rng, count, 2, 3, side, scale)
    labels = rng.integers(0, 3, count)
    sizes = [size for size in sizes if size]
    head = sizes[:cut]
    at = sum(head)
    whole = layer_of(x, gate, labels, 2, 3, sizes, chosen)
    parts = merge(
        layer_of(x[:at], gate[:at], labels[:at], 2, 3, head, chosen),
        layer_of(x[at:], gate[at:], labels[at:], 2, 3, sizes[cut:], chosen, first=at),
    )
    assert_same(parts, whole)
    assert parts.joint.counts.sum() == count * 2 * side * side


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.floats(-1e6, 1e6), max_size=6), min_size=1, max_size=6),
    st.floats(-1e9, 1e9),
)
def test_moments_merge_as_if_taken_at_once(parts, offset):
    parts = [np.array(part, np.float64) + offset for part in parts]
    everything = Moments.of(np.concatenate(parts)[None])
    total = Moments.empty(1)
    for part in parts:
        total = total.combine(Moments.of(part[None]))
    assert total.count == everything.count
    if everything.count:
        size = np.abs(np.concatenate(parts)).max()
        np.testing.assert_allclose(total.mean, everything.mean, rtol=1e-12, atol=1e-12 * size)
        # Two passes over values of this size leave that much in the sum of squares.
        rest = 1e-28 * size**2 * total.count
        np.testing.assert_allclose(total.m2, everything.m2, rtol=1e-12, atol=float(rest[0]))
        assert (total.low, total.high) == (everything.low, everything.high)


def test_a_large_offset_costs_no_digits():
    values = 1e9 + np.random.default_rng(0).random(1000)
    halves = Moments.of(values[None, :400]).combine(Moments.of(values[None, 400:]))
    exact = (values - 1e9).var()  # the differences are exact
    naive = np.square(values).mean() - np.square(values.mean())
    assert abs(naive / exact - 1) > 1  # the textbook's sum of squares has no digit left
    assert halves.variance[0] == pytest.approx(exact, rel=1e-7)  # what the means can resolve


def test_bins_hold_their_lower_edge_and_everything_else_is_counted_beside():
    grid = NormGrid(-2, 3, 4)
    edges = grid.edges
    assert len(edges) == 21 and edges[0] == 0.25 and edges[-1] == 8
    below = np.nextafter(edges.astype(np.float32), np.float32(0))
    np.testing.assert_array_equal(grid.bin_of(edges.astype(np.float32)), np.arange(1, 22))
    np.testing.assert_array_equal(grid.bin_of(below), np.arange(21))
    odd = np.array([0, 1e-45, 7.99, 8, 1e30, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(grid.bin_of(odd), [0, 0, 20, 21, 21, 21, 21])


@pytest.mark.parametrize("wrong", [{"lowest": 3, "highest": 3}, {"per_octave": 3}])
def test_a_grid_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="choose"):
        NormGrid(**wrong)


def test_measures_of_one_map_by_hand():
    """Ten positions with norms 1 to 10; the gate halves all but the strongest."""
    norms = np.arange(1, 11, dtype=np.float32)
    x = norms.reshape(1, 1, 2, 5)
    gate = np.where(norms == 10, 1.0, 0.5).astype(np.float32).reshape(1, 1, 2, 5)
    statistics = layer_of(x, gate, np.zeros(1, int), 1, 1, [1])
    after = np.where(norms == 10, norms, norms / 2).astype(float)
    near = (after <= 2.75).mean(), (after <= 1.625).mean()
    spread = after.mean(), after.var(), after.std() / after.mean(), after.var(), after.std()
    cv = np.sqrt(8.25) / 5.5
    expected = {
        "before": (5.5, 8.25, cv, 8.25, cv * 5.5, 10, 10 / 55, 1, 1, 1 / 55, 1, 1, 0.2, 0.2),
        "after": (*spread, 10, 10 / 32.5, 1, 0.5, 0.5 / 32.5, 0.5, 32.5 / 55, *near),
    }
    for side, values in expected.items():
        measured = statistics.pictures[side].mean[0, :, 0]
        np.testing.assert_allclose(measured, values, rtol=1e-7, err_msg=side)


def test_flat_and_empty_maps_give_numbers():
    x = np.zeros((2, 4, 3, 3), np.float32)
    x[1] = 2
    gate = np.full((2, 2, 3, 3), 0.5, np.float32)
    statistics = layer_of(x, gate, np.zeros(2, int), 2, 1, [2])
    for side in ("before", "after"):
        assert np.isfinite(statistics.pictures[side].mean).all()
    assert statistics.joint.counts[:, 0, 0].tolist() == [9, 9]  # zeros are underflow
    assert statistics.gates.counts[0, 0, 1 + GATE_BINS // 2] == 18


def test_values_that_are_no_numbers_are_refused():
    x = np.full((1, 4, 3, 3), np.nan, np.float32)
    with pytest.raises(ValueError, match="not finite"):
        layer_of(x, np.ones((1, 2, 3, 3), np.float32), np.zeros(1, int), 2, 1, [1])


def test_statistics_of_other_settings_do_not_merge():
    with pytest.raises(ValueError, match="cannot be merged"):
        merge(LayerStatistics(PLAIN, 2), LayerStatistics(Settings(controls=False), 2))


def test_arrays_bring_everything_back():
    rng = np.random.default_rng(3)
    x, gate = example(rng, 5, 2, 3, 4)
    statistics = layer_of(x, gate, np.array([0, 0, 1, 1, 1]), 2, 2, [2, 3])
    assert_same(LayerStatistics.from_arrays(statistics.arrays(), PLAIN), statistics, rtol=0)
