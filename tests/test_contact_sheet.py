"""The contact sheet, and the choice of the groups that it shows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from sge_viz.parts import standing_out
from sge_viz.render.contact_sheet import contact_sheet
from sge_viz.render.figures import PictureMaps


def blob(row, column, height=6, width=6, peak=5.0):
    values = np.ones((height, width))
    values[row, column] = peak
    return values


def test_a_group_that_picks_a_place_of_its_own_comes_before_all_others():
    flat = np.ones((6, 6))
    common = [blob(0, 0), blob(0, 0), blob(0, 0)]
    scores = standing_out([np.stack([flat, *common, blob(4, 2)])] * 3)
    assert scores.argmax() == 4
    assert scores[0] < scores[4]
    assert max(scores[1:4]) < scores[4]


def test_standing_out_is_the_formula():
    rng = np.random.default_rng(0)
    pictures = [rng.random((5, 4, 3)) for _ in range(3)]
    expected = np.zeros(5)
    for maps in pictures:
        relative = [[[v / m.mean() for v in row] for row in m] for m in maps]
        for group in range(5):
            own = [
                relative[group][y][x] - sum(relative[other][y][x] for other in range(5)) / 5
                for y in range(4)
                for x in range(3)
            ]
            expected[group] += max(own) / 3
    assert standing_out(pictures) == pytest.approx(expected)


@given(
    arrays(np.float64, (4, 3, 3), elements=st.floats(0.01, 10)),
    st.floats(0.1, 100),
)
def test_the_size_of_a_groups_norms_does_not_matter(maps, factor):
    louder = maps.copy()
    louder[2] *= factor
    assert standing_out([louder]) == pytest.approx(standing_out([maps]))


def test_a_silent_group_does_not_stand_out():
    maps = np.stack([np.zeros((3, 3)), blob(1, 1, 3, 3)])
    scores = standing_out([maps])
    assert np.isfinite(scores).all()
    assert scores[0] < scores[1]


def test_no_picture_is_refused():
    with pytest.raises(ValueError, match="no picture"):
        standing_out([])


def pair(before, after, size=(60, 40)):
    return PictureMaps(Image.new("RGB", size, (90, 90, 90)), before, after, "a.jpg")


def pixels(sheet):
    return np.asarray(sheet).astype(int)


def test_a_sheet_shows_the_place_where_a_group_fires_and_that_it_weakens():
    before = np.stack([blob(1, 1), blob(4, 4)])
    after = 0.5 * before
    here = contact_sheet([pair(before, after, (60, 60))], [0], side=60)
    there = contact_sheet([pair(before, after, (60, 60))], [1], side=60)
    assert here.size == there.size
    changed = np.argwhere((pixels(here) != pixels(there)).any(2))
    # Below the head: the two maps of a pair lie beside each other, 60 pixels each.
    columns = set((changed[:, 1]).tolist())
    assert max(columns) - min(columns) > 60


def test_before_and_after_share_their_scale():
    before = blob(2, 2)[None]
    same = contact_sheet([pair(before, before)], [0], side=40)
    weaker = contact_sheet([pair(before, 0.5 * before)], [0], side=40)
    wide = 60
    row = pixels(same)
    # With equal maps the two halves of the pair are equal, pixel for pixel.
    maps_top = np.argwhere((row != pixels(weaker)).any(2))[:, 0].min()
    left = 20 + 92 + 10
    first = row[maps_top : maps_top + 30, left : left + wide]
    second = row[maps_top : maps_top + 30, left + wide + 2 : left + 2 * wide + 2]
    assert (first == second).all()
    fainter = pixels(weaker)[maps_top : maps_top + 30, left + wide + 2 : left + 2 * wide + 2]
    assert (fainter != second).any()


def test_without_sge_there_is_one_map_a_picture():
    before = blob(2, 2)[None]
    with_sge = contact_sheet([pair(before, before)], [0])
    without = contact_sheet([pair(before, None)], [0])
    assert without.width < with_sge.width


@pytest.mark.parametrize(
    ("pictures", "groups", "words"),
    [
        ([], [0], "at least one picture"),
        ([pair(blob(0, 0)[None], None)], [], "one group"),
        ([pair(blob(0, 0)[None], None)], [1], "no group 1"),
    ],
)
def test_what_cannot_be_drawn_is_a_sentence(pictures, groups, words):
    with pytest.raises(ValueError, match=words):
        contact_sheet(pictures, groups)
