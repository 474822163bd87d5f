"""Views of pictures and of maps: torchvision's resampling, and one geometry for both."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torchvision.transforms.v2.functional import resized_crop

from sge_viz.training.views import Views, filters, random_views, whole_views

sizes = st.integers(1, 40)
several = st.integers(2, 40)
"""torch's own interpolation of one column with antialiasing is wrong in every row."""
parts = st.floats(0, 1, width=32)


def views_of(boxes, height, width, mirrored=False):
    """Views of (top, left, height, width) in pixels."""
    rows = torch.tensor(boxes, dtype=torch.float32) / torch.tensor([height, width] * 2)
    return Views(*rows.T, torch.full((len(boxes),), mirrored))


def picture(height, width, count=1, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def ramps(side):
    """A map whose first channel says how far down a place is, and whose second how far right."""
    line = (torch.arange(side) + 0.5) / side
    return torch.stack([line[:, None].expand(side, side), line[None].expand(side, side)])[None]


def inner(begin, length, source, target):
    """Which of the target's cells torchvision makes without meeting the crop's own edge."""
    step = length / target
    centre = (torch.arange(target) + 0.5) * step
    reach = max(step, 1) + 1e-3
    low = (centre >= reach) | (begin == 0)
    return low & ((centre <= length - reach) | (begin + length == source))


@settings(max_examples=150, deadline=None)
@given(st.data(), several, several, several, several)
def test_a_crop_is_torchvisions_away_from_its_edges(data, height, width, rows, columns):
    top, left = data.draw(st.integers(0, height - 2)), data.draw(st.integers(0, width - 2))
    tall = data.draw(st.integers(2, height - top))
    wide = data.draw(st.integers(2, width - left))
    image = picture(height, width, seed=height * width)
    ours = views_of([(top, left, tall, wide)], height, width).of(image, (rows, columns))
    theirs = resized_crop(image, top, left, tall, wide, [rows, columns], antialias=True)
    down, across = inner(top, tall, height, rows), inner(left, wide, width, columns)
    assert ours.shape == theirs.shape
    torch.testing.assert_close(
        ours[:, :, down][..., across], theirs[:, :, down][..., across], rtol=0, atol=2e-5
    )


def test_most_of_an_ordinary_crop_is_compared():
    for side in (96, 224):
        assert inner(30, 150, 256, side).float().mean() > 0.95


@settings(max_examples=150, deadline=None)
@given(several, several, several, several)
def test_the_whole_picture_is_interpolates(height, width, rows, columns):
    image = picture(height, width, 2, seed=height + 50 * width)
    theirs = functional.interpolate(image, (rows, columns), mode="bilinear", antialias=True)
    ours = whole_views(2).of(image, (rows, columns))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)


def test_every_picture_of_a_batch_has_a_view_of_its_own():
    images = picture(20, 30, 3)
    boxes = [(0, 0, 20, 30), (4, 6, 10, 12), (7, 3, 13, 20)]
    together = views_of(boxes, 20, 30).of(images, 9)
    for row, box in enumerate(boxes):
        alone = views_of([box], 20, 30).of(images[row : row + 1], 9)
        torch.testing.assert_close(together[row : row + 1], alone)
    part = views_of(boxes, 20, 30).part(slice(1, 3)).of(images[1:], 9)
    torch.testing.assert_close(part, together[1:])


def test_a_mirrored_view_is_the_view_flipped():
    image, box = picture(20, 30), [(3, 5, 9, 14)]
    plain = views_of(box, 20, 30).of(image, (6, 8))
    mirrored = views_of(box, 20, 30, mirrored=True).of(image, (6, 8))
    assert torch.equal(mirrored, plain.flip(3)) and not torch.equal(mirrored, plain)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(3, 7))
def test_a_picture_and_a_map_over_it_are_cut_along_the_same_lines(seed, cells):
    """Ramps of 256 pixels and of 9 cells say the same of every place, up to the map's edges."""
    views = random_views(4, torch.Generator().manual_seed(seed), (0.3, 0.9))
    fine = views.of(ramps(256).expand(4, -1, -1, -1), 32 * cells)
    coarse = views.of(ramps(9).expand(4, -1, -1, -1), cells)
    wanted = functional.avg_pool2d(fine, 32)
    reach = max(1 / cells, 1 / 9)  # beyond the edge there is nothing to take the mean with
    away = (wanted > reach) & (wanted < 1 - reach)
    assert away.any() and ((coarse - wanted).abs()[away] < 0.15 / 9).all()


def test_one_column_is_resampled_like_any():
    image = picture(2, 5)[..., :1]
    narrow, wide = (whole_views(1).of(image.expand(-1, -1, -1, n), (3, n)) for n in (1, 5))
    torch.testing.assert_close(narrow.expand(-1, -1, -1, 5), wide)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(parts, parts), min_size=1, max_size=5), sizes, sizes)
def test_filters_add_up_to_one_and_take_from_the_view_alone(edges, source, target):
    start = torch.tensor([first * (1 - 1e-3) for first, _ in edges])
    length = torch.tensor([max(1e-3, part) for _, part in edges]) * (1 - start)
    weights = filters(start, length, source, target)
    assert weights.shape == (len(edges), target, source) and weights.isfinite().all()
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(2), torch.ones(len(edges), target))
    cell = torch.arange(source) + 0.5
    reach = (length * source / target).clamp(min=1)[:, None, None]
    far = (cell < (start * source)[:, None, None] - reach) | (
        cell > ((start + length) * source)[:, None, None] + reach
    )
    assert not (weights * far).any()


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    area=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(sorted),
    widest=st.floats(1, 3),
    aspect=st.floats(1 / 4, 4),
)
def test_random_views_keep_to_their_bounds(seed, area, widest, aspect):
    shape = (1 / widest, widest)
    views = random_views(64, torch.Generator().manual_seed(seed), tuple(area), shape, aspect)
    assert (views.top >= 0).all() and (views.left >= 0).all()
    assert (views.top + views.height <= 1 + 1e-6).all()
    assert (views.left + views.width <= 1 + 1e-6).all()
    taken = views.height * views.width
    assert area[0] - 1e-5 <= taken.min() and taken.max() <= area[1] + 1e-5
    across_down = aspect * views.width / views.height
    assert across_down.min() >= min(shape[0], aspect) * (1 - 1e-4)
    assert across_down.max() <= max(shape[1], aspect) * (1 + 1e-4)
    fits = (views.height < 1 - 1e-5) & (views.width < 1 - 1e-5)
    assert (across_down[fits] <= widest * (1 + 1e-4)).all()
    assert (across_down[fits] >= (1 - 1e-4) / widest).all()


def test_random_views_are_drawn_evenly():
    views = random_views(20_000, torch.Generator().manual_seed(3), (0.2, 0.4))
    taken = views.height * views.width
    shape = (views.width / views.height).log()
    for values, low, high in ((taken, 0.2, 0.4), (shape, math.log(3 / 4), math.log(4 / 3))):
        quartiles = torch.quantile(values, torch.tensor([0.25, 0.5, 0.75]))
        wanted = low + (high - low) * torch.tensor([0.25, 0.5, 0.75])
        torch.testing.assert_close(quartiles, wanted, rtol=0, atol=0.02 * (high - low))
    assert 0.48 < views.mirrored.float().mean() < 0.52
    place = views.left / (1 - views.width)
    assert place.min() < 0.01 and place.max() > 0.99 and abs(place.mean() - 0.5) < 0.02


@pytest.mark.parametrize("seed", [0, 7])
def test_random_views_depend_on_the_generator_alone(seed):
    one = random_views(8, torch.Generator().manual_seed(seed))
    torch.rand(100)
    two = random_views(8, torch.Generator().manual_seed(seed))
    other = random_views(8, torch.Generator().manual_seed(seed + 1))
    assert torch.equal(one.left, two.left) and torch.equal(one.mirrored, two.mirrored)
    assert not torch.equal(one.left, other.left)
