"""Matching groups of two networks by the correlation of their maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sge_viz.maps import GroupMaps
from sge_viz.matching import match_groups


def maps(before):
    return GroupMaps("layer3.5", torch.as_tensor(before, dtype=torch.float32)[None])


def test_correlation_equals_numpy_over_all_cells_of_all_pictures():
    random = np.random.default_rng(0)
    first = [random.random((5, 4, 6)).astype(np.float32) for _ in range(3)]
    second = [random.random((7, 4, 6)).astype(np.float32) for _ in range(3)]
    found = match_groups((maps(a), maps(b)) for a, b in zip(first, second, strict=True))
    flat = [np.concatenate([x.reshape(len(x), -1) for x in side], 1) for side in (first, second)]
    expected = np.corrcoef(*flat)[:5, 5:]
    np.testing.assert_allclose(found.correlation, expected, atol=1e-9)
    assert found.pictures == 3
    assert [group for group, _ in found.best()] == list(expected.argmax(1))


def test_shuffled_groups_are_found_again():
    random = np.random.default_rng(1)
    order = random.permutation(64)
    first = random.random((64, 7, 7))
    found = match_groups([(maps(first), maps(3 * first[order] + 2))])
    assert [group for group, _ in found.best()] == list(np.argsort(order))
    assert all(value == pytest.approx(1, abs=1e-6) for _, value in found.best())


def test_a_constant_map_correlates_with_nothing():
    found = match_groups([(maps(np.full((2, 3, 3), 5.0)), maps(np.random.rand(2, 3, 3)))])
    assert (found.correlation == 0).all()


def test_different_sizes_or_no_picture_are_refused():
    with pytest.raises(ValueError, match="different sizes"):
        match_groups([(maps(np.ones((2, 3, 3))), maps(np.ones((2, 4, 4))))])
    with pytest.raises(ValueError, match="at least one"):
        match_groups([])
