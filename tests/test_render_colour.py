import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.colors import Normalize

from sge_viz.render import (
    COLOUR_MAPS,
    SCALE_SENTENCES,
    SCALES,
    colour_table,
    colourise,
    gate_limits,
    limits,
)

shapes = hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)
norms = shapes.flatmap(
    lambda shape: hnp.arrays(np.float32, shape, elements=st.floats(0, 1e6, width=32))
)


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_table_holds_matplotlibs_colours(name):
    table = colour_table(name)
    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    for place in (0, 100, 255):
        expected = np.round(np.array(matplotlib.colormaps[name](place)[:3]) * 255)
        assert np.abs(table[place] - expected).max() <= 1


@pytest.mark.parametrize("name", COLOUR_MAPS)
@given(values=norms)
def test_colours_equal_matplotlibs_within_one_level(name, values):
    low, high = float(values.min()), float(values.max())
    ours = colourise(values, low, high, name)
    theirs = matplotlib.colormaps[name](Normalize(low, high)(values.astype(np.float64)), bytes=True)
    # a level of the table, not of a channel: the neighbouring colour is as good
    table = colour_table(name).astype(int)
    steps = np.abs(np.diff(table, axis=0)).max() + 1
    assert ours.shape == (*values.shape, 3)
    assert np.abs(ours.astype(int) - theirs[..., :3]).max() <= steps


def test_colours_follow_the_stated_formula():
    # four quarters of the range, and values beyond both ends
    table = colour_table("viridis")
    got = colourise([-5, 0, 0.25, 0.5, 0.75, 0.9999, 1, 7], 0, 1)
    assert np.array_equal(got, table[[0, 0, 64, 128, 192, 255, 255, 255]])


@given(values=norms)
def test_brighter_is_never_lower(values):
    order = np.argsort(values, axis=None)
    grays = colourise(values, values.min(), values.max(), "gray")[..., 0].ravel()[order]
    assert (np.diff(grays.astype(int)) >= 0).all()


def test_constant_maps_get_the_lowest_colour():
    with np.errstate(all="raise"):
        got = colourise(np.full((3, 2), 0.731), 0.731, 0.731)
    assert (got == colour_table("viridis")[0]).all()


def test_every_group_can_have_its_own_ends():
    values = np.array([[[0.0, 1.0]], [[10.0, 30.0]]])
    low, high = np.array([0, 10])[:, None, None], np.array([1, 30])[:, None, None]
    got = colourise(values, low, high)
    assert np.array_equal(got[0], got[1])


@given(values=norms, share=st.floats(0, 1, width=32))
def test_limits_are_what_they_say(values, share):
    before, after = values, values * np.float32(share)
    both = np.stack([before, after])
    shared, layer, own = (limits(before, after, scale) for scale in SCALES)
    for group in range(len(values)):
        expected = (both[:, group].min(), both[:, group].max())
        assert shared.before.of(group) == shared.after.of(group) == expected
        assert layer.before.of(group) == layer.after.of(group) == (both.min(), both.max())
        assert own.before.of(group) == (before[group].min(), before[group].max())
        assert own.after.of(group) == (after[group].min(), after[group].max())


@given(values=norms)
def test_limits_without_sge(values):
    for scale in SCALES:
        got = limits(values, None, scale)
        assert got.after is None
        expected = values if scale == "layer" else values[0]
        assert got.before.of(0) == (expected.min(), expected.max())


def test_gate_limits():
    gate = np.array([[[0.2, 0.4]], [[0.5, 0.9]]])
    assert gate_limits(gate, "own").of(1) == (0.5, 0.9)
    assert gate_limits(gate, "shared").of(1) == gate_limits(gate, "layer").of(0) == (0.2, 0.9)


def test_each_scale_has_its_sentence():
    assert SCALES[0] == "shared"
    assert set(SCALE_SENTENCES) == set(SCALES)
    assert all(sentence.endswith(".") for sentence in SCALE_SENTENCES.values())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named(bad):
    maps = np.ones((2, 3, 3))
    maps[1, 2, 0] = bad
    with pytest.raises(ValueError, match=r"'after'.*\(1, 2, 0\).*(nan|inf)"):
        limits(np.ones((2, 3, 3)), maps)
    with pytest.raises(ValueError, match="'gate'"):
        gate_limits(maps)
    with pytest.raises(ValueError, match="not finite"):
        colourise(maps, 0, 1)
    with pytest.raises(ValueError, match="not finite"):
        colourise(1.0, 0, bad)


def test_wrong_arguments_get_sentences():
    ones = np.ones((2, 3, 3))
    with pytest.raises(ValueError, match="choose one of: viridis"):
        colour_table("jet")
    with pytest.raises(ValueError, match="choose one of: shared"):
        limits(ones, ones, "global")
    with pytest.raises(ValueError, match="choose one of: shared"):
        gate_limits(ones, "global")
    with pytest.raises(ValueError, match="one picture of a batch"):
        limits(ones[None], ones[None])
    with pytest.raises(ValueError, match="one picture"):
        limits(np.ones((0, 3, 3)), None)
    with pytest.raises(ValueError, match="one layer"):
        limits(ones, np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match="above its high"):
        colourise(ones, 2, 1)


def test_no_caller_can_change_the_colours():
    with pytest.raises(ValueError, match="read-only"):
        colour_table("viridis")[0] = 0
