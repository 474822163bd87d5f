"""Groups and input sizes as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sge_viz.selection import parse_group, parse_groups, parse_size


@pytest.mark.parametrize(("written", "group"), [(0, 0), (63, 63), ("17", 17), (" 4 ", 4), (5.0, 5)])
def test_whole_numbers_in_range_are_groups(written, group):
    assert parse_group(written, 64) == group


@pytest.mark.parametrize("written", [-1, 64, "a", "", None, math.nan, math.inf, 1.5, True, [], {}])
def test_everything_else_is_refused_and_named(written):
    with pytest.raises(ValueError, match="groups go from 0 to 63"):
        parse_group(written, 64)


@given(st.one_of(st.text(), st.floats(), st.integers(), st.none(), st.binary()))
def test_any_value_is_a_group_in_range_or_a_sentence(written):
    try:
        assert 0 <= parse_group(written, 64) < 64
    except ValueError as error:
        assert "groups go from 0 to 63" in str(error)


def test_several_groups_keep_their_order_and_lose_doubles():
    assert parse_groups("17, 21,40 17", 64) == [17, 21, 40]
    assert parse_groups([3, 1], 64) == [3, 1]


@pytest.mark.parametrize("written", ["", None, ",", []])
def test_no_group_at_all_is_refused(written):
    with pytest.raises(ValueError, match="at least one group"):
        parse_groups(written, 64)


def test_sizes_are_numbers_or_words():
    assert parse_size("448") == parse_size(448) == 448
    assert parse_size(" published ") == "published"
