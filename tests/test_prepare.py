"""Preprocessing: torchvision's pixels, and the exact way back to the picture."""

import hostile
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from sge_viz.images import MEAN, STD, BadPicture, Picture, open_picture, prepare


def a_picture(array: np.ndarray) -> Picture:
    return open_picture(hostile.saved(Image.fromarray(array), "PNG"))


SIZES = [
    (256, 256),
    (224, 224),
    (1, 1),
    (1, 20),
    (20, 1),
    (257, 256),
    (500, 333),
    (333, 500),
    (640, 479),
    (301, 299),
    (1023, 777),
]


@pytest.mark.parametrize("size", SIZES)
def test_published_preprocessing_is_torchvisions(size):
    picture = a_picture(np.asarray(hostile.photo(*size)))
    reference = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    prepared = prepare(picture)
    assert prepared.tensor.dtype == torch.float32
    assert torch.equal(prepared.tensor[0], reference(picture.image))
    assert prepared.size == (224, 224)
    assert "256" in prepared.preprocessing
    assert "224" in prepared.preprocessing


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shorter", [224, np.int64(448)])
def test_whole_picture(size, shorter):
    shorter = 224 if 20 in size else shorter  # 448x8960 would be too large
    picture = a_picture(np.asarray(hostile.photo(*size)))
    prepared = prepare(picture, shorter)
    height, width = prepared.size
    assert prepared.tensor.shape == (1, 3, height, width)
    assert min(height, width) == shorter
    assert height % 32 == width % 32 == 0
    exact = max(size) * shorter / min(size)
    assert abs(max(height, width) - exact) <= 16
    assert prepared.box == (0, 0, *size)
    resized = picture.image.resize((width, height), Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(prepared.view()), np.asarray(resized))


@pytest.mark.parametrize("size", [223, 225, 240, 192, 0, -224, 1000, 928, 224.0, "a", "224"])
def test_bad_size_is_refused(size):
    with pytest.raises(ValueError, match="multiple of 32 from 224 to 896"):
        prepare(a_picture(np.zeros((9, 9, 3), np.uint8)), size)


@pytest.mark.parametrize("size", [float("nan"), True, None, [224], "x" * 10**6])
def test_senseless_size_is_refused(size):
    with pytest.raises(ValueError, match="multiple of 32 from 224 to 896") as caught:
        prepare(a_picture(np.zeros((9, 9, 3), np.uint8)), size)
    assert len(str(caught.value)) < 200


def test_too_large_an_input_is_refused_before_it_is_made():
    long = a_picture(np.zeros((10, 200, 3), np.uint8))
    assert prepare(long, 224).size == (224, 4480)
    with pytest.raises(BadPicture, match=r"17920x896 pixels.*4 megapixels"):
        prepare(long, 896)


@pytest.mark.parametrize("size", ["published", 224])
def test_view_is_what_the_network_saw(size):
    levels = np.arange(256, dtype=np.uint8).repeat(3 * 256).reshape(256, 256, 3)
    prepared = prepare(a_picture(levels), size)
    view = np.asarray(prepared.view())
    again = (torch.tensor(view / 255.0).permute(2, 0, 1) - torch.tensor(MEAN).view(3, 1, 1)) / (
        torch.tensor(STD).view(3, 1, 1)
    )
    assert torch.allclose(again.float(), prepared.tensor[0], atol=1e-5)
    assert prepared.view().size == prepared.size[::-1]


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(60, 900),
    height=st.integers(60, 900),
    size=st.sampled_from(["published", 224, 320]),
    x=st.floats(0.2, 0.75),
    y=st.floats(0.2, 0.75),
)
def test_box_leads_back_to_the_place_in_the_picture(width, height, size, x, y):
    """A bright square's centre of mass, as the network sees it, maps to where it was painted."""
    side = max(8, min(width, height) // 12)
    cx, cy = width // 2, height // 2
    span = min(width, height) * 0.6
    left, top = int(cx + (x - 0.5) * span), int(cy + (y - 0.5) * span)
    scene = np.zeros((height, width, 3), np.uint8)
    scene[top : top + side, left : left + side] = 255
    prepared = prepare(a_picture(scene), size)
    seen = np.asarray(prepared.view())[..., 0].astype(float)
    rows, columns = np.indices(seen.shape) + 0.5
    x0, y0, x1, y1 = prepared.box
    found_x = x0 + (columns * seen).sum() / seen.sum() / seen.shape[1] * (x1 - x0)
    found_y = y0 + (rows * seen).sum() / seen.sum() / seen.shape[0] * (y1 - y0)
    assert found_x == pytest.approx(left + side / 2, abs=0.02 * side + 0.1)
    assert found_y == pytest.approx(top + side / 2, abs=0.02 * side + 0.1)


def test_box_of_the_published_crop_is_exact():
    # 500x333: resized to 384x256 (not 384.38), cropped from (80, 16).
    prepared = prepare(a_picture(np.zeros((333, 500, 3), np.uint8)))
    x, y = 500 / 384, 333 / 256
    assert prepared.box == pytest.approx((80 * x, 16 * y, 304 * x, 240 * y))


@settings(max_examples=50, deadline=None)
@given(
    width=st.integers(30, 500),
    height=st.integers(30, 500),
    size=st.sampled_from(["published", 224]),
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_cells_tile_the_box_and_are_found_again(width, height, size, shape):
    prepared = prepare(a_picture(np.zeros((height, width, 3), np.uint8)), size)
    rows, columns = shape
    left, top, right, bottom = prepared.box
    assert prepared.cell_box(0, 0, shape)[:2] == pytest.approx((left, top))
    assert prepared.cell_box(rows - 1, columns - 1, shape)[2:] == pytest.approx((right, bottom))
    for row, column in ((0, 0), (rows // 2, columns // 3), (rows - 1, columns - 1)):
        x0, y0, x1, y1 = prepared.cell_box(row, column, shape)
        assert prepared.cell_at((x0 + x1) / 2, (y0 + y1) / 2, shape) == (row, column)
        assert x1 - x0 == pytest.approx((right - left) / columns)
    for outside in ((left - 1, top), (left, top - 1), (right, top), (left, bottom)):
        assert prepared.cell_at(*outside, shape) is None
    assert prepared.cell_at(float("nan"), top, shape) is None
