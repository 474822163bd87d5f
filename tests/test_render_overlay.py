import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from sge_viz.render import colourise, overlay


def noise(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def painted(image, values, box, ends, opacity, dim):
    """Paint cell after cell, from the words of the promise: float64 RGB."""
    left, top, right, bottom = box
    rows, columns = values.shape
    result = image * (1 - dim)

    def edge(start, stop, cells, number):
        return math.floor(start + (stop - start) * number / cells + 0.5)

    for row in range(rows):
        for column in range(columns):
            x0, x1 = (edge(left, right, columns, column + more) for more in (0, 1))
            y0, y1 = (edge(top, bottom, rows, row + more) for more in (0, 1))
            part = np.s_[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
            colour = colourise(values[row, column], *ends)
            result[part] = image[part] * (1 - opacity) + colour * opacity
    return result


def test_cells_fill_exactly_their_pixels():
    values = np.arange(14 * 14).reshape(14, 14)
    image = noise(300, 260)
    result = overlay(image, values, (38, 18, 262, 242), (0, 195), opacity=1, dim=0)
    expected = image.copy()
    expected[18:242, 38:262] = np.kron(colourise(values, 0, 195), np.ones((16, 16, 1), np.uint8))
    assert np.array_equal(np.asarray(result), expected)


@st.composite
def boxes(draw, width=41, height=33):
    """Boxes of which at least a pixel lies in the picture; some stand out of it."""
    sides = []
    for length in (width, height):
        start = draw(st.floats(-15, length - 1.5))
        stop = draw(st.floats(max(start, 0) + 1.25, length + 15))
        sides.append((start, stop))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom


@given(
    box=boxes(),
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    opacity=st.floats(0, 1),
    dim=st.floats(0, 1),
)
def test_any_box_is_painted_without_gaps(box, rows, columns, opacity, dim):
    left, top, right, bottom = box
    width, height = 41, 33
    # an edge within rounding error of half a pixel may go either way
    for start, stop, cells in ((left, right, columns), (top, bottom, rows)):
        edges = start + np.arange(cells + 1) * (stop - start) / cells
        assume(np.abs(edges - np.floor(edges) - 0.5).min() > 1e-9)
    values = np.random.default_rng(rows * columns).uniform(0, 1, (rows, columns))
    image = noise(width, height)
    result = overlay(image, values, box, (0.2, 0.8), opacity=opacity, dim=dim)
    expected = painted(image.astype(float), values, box, (0.2, 0.8), opacity, dim)
    assert result.size == (width, height)
    assert np.abs(np.asarray(result, dtype=float) - expected).max() <= 1


def test_what_was_not_seen_is_dimmed_and_the_rest_is_not():
    image = np.full((40, 60, 3), 200, np.uint8)
    result = np.asarray(overlay(image, np.ones((4, 4)), (10, 0, 50, 40), (0, 1), opacity=0))
    assert (result[:, 10:50] == 200).all()
    assert (result[:, :10] < 200).all()
    assert (result[:, 50:] < 200).all()
    assert result.min() > 80


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((1, 1), (0.0625, 0.0625, 0.9375, 0.9375)),
        ((1, 20), (0.0625, 9.5625, 0.9375, 10.4375)),
        ((20, 1), (9.5625, 0.0625, 10.4375, 0.9375)),
    ],
)
@pytest.mark.parametrize("smooth", [False, True])
def test_tiny_pictures_still_show_what_was_seen(size, box, smooth):
    # what the published crop takes from pictures narrower than a pixel of the map
    image = np.zeros((size[1], size[0], 3), np.uint8)
    result = overlay(image, np.ones((14, 14)), box, (0, 1), opacity=1, smooth=smooth)
    shown = (np.asarray(result) != 0).any(axis=2)
    assert shown.sum() == 1
    assert shown[size[1] // 2, size[0] // 2]


def test_smoothing_stays_in_line_with_the_cells():
    # a step at column 7 of 14: half way up exactly in the middle of the box
    values = np.repeat([[0.0] * 7 + [1.0] * 7], 14, axis=0)
    image = noise(300, 260)
    for smooth in (True, "bilinear", "bicubic"):
        result = overlay(
            image, values, (38, 18, 262, 242), (0, 1), "gray", opacity=1, smooth=smooth, dim=0
        )
        gray = np.asarray(result)[130, :, 0].astype(int)
        assert abs((gray[149] + gray[150]) / 2 - 127.5) <= 3
        assert (gray[38:141] <= 8).all()
        assert (gray[159:262] >= 247).all()
        outside = np.ones(300, bool)
        outside[38:262] = False
        assert np.array_equal(np.asarray(result)[:, outside], image[:, outside])


def test_smoothing_lies_between_the_values():
    values = np.random.default_rng(0).uniform(0, 1, (5, 5))
    shown = np.asarray(
        overlay(noise(55, 55), values, (0, 0, 55, 55), (0, 1), "gray", opacity=1, smooth=True)
    )
    grays = colourise(values, 0, 1, "gray")
    assert grays.min() <= shown.min() <= shown.max() <= grays.max()
    # the middle of a cell has the cell's own value
    middle = shown[5::11, 5::11, 0].astype(int)
    assert np.abs(middle - grays[..., 0]).max() <= 1


def test_pil_pictures_of_any_mode_and_no_metadata():
    for mode in ("RGB", "L", "RGBA", "P"):
        image = Image.fromarray(noise(20, 10)).convert(mode)
        image.info["exif"] = b"GPS"
        before = image.tobytes()
        result = overlay(image, np.ones((2, 2)), (0, 0, 20, 10), (0, 1))
        assert result.mode == "RGB"
        assert result.info == {}
        assert image.tobytes() == before


def test_wrong_arguments_get_sentences():
    image, values, box = noise(20, 10), np.ones((2, 2)), (0, 0, 20, 10)
    for opacity in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="opacity"):
            overlay(image, values, box, (0, 1), opacity=opacity)
    with pytest.raises(ValueError, match="no area"):
        overlay(image, values, (5, 0, 5, 10), (0, 1))
    with pytest.raises(ValueError, match="no area"):
        overlay(image, values, (0, 0, float("inf"), 10), (0, 1))
    with pytest.raises(ValueError, match="no pixel"):
        overlay(image, values, (30, 0, 40, 10), (0, 1))
    with pytest.raises(ValueError, match="one group"):
        overlay(image, np.ones((3, 2, 2)), box, (0, 1))
    with pytest.raises(ValueError, match="not finite"):
        overlay(image, values * np.nan, box, (0, 1))
    with pytest.raises(ValueError, match="bilinear"):
        overlay(image, values, box, (0, 1), smooth="cubic")
    with pytest.raises(ValueError, match="uint8"):
        overlay(image.astype(float), values, box, (0, 1))
    with pytest.raises(ValueError, match="colour map"):
        overlay(image, values, box, (0, 1), "jet")
