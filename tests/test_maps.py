"""Measures of a map against their definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sge_viz.maps import GroupMaps, concentration, concentration_gained, gate_contrast


@settings(max_examples=50, deadline=None)
@given(height=st.integers(1, 15), width=st.integers(1, 15), seed=st.integers(0, 2**31))
def test_concentration_is_the_share_of_the_strongest_tenth(height, width, seed):
    norms = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed)) ** 4
    share = concentration(norms)
    assert share.shape == (2, 3)
    tenth = math.ceil(height * width / 10)
    for b in range(2):
        for g in range(3):
            cells = np.sort(norms[b, g].double().numpy().ravel())[::-1]
            assert share[b, g].item() == pytest.approx(cells[:tenth].sum() / cells.sum(), abs=1e-5)


def test_concentration_of_flat_and_single_peak_maps():
    maps = torch.zeros(3, 14, 14)
    maps[1] = 7.0
    maps[2, 3, 4] = 5.0
    flat = 20 / 196
    torch.testing.assert_close(concentration(maps), torch.tensor([flat, flat, 1.0]))


def test_gain_and_contrast():
    before = torch.ones(1, 1, 2, 5)
    gate = torch.full((1, 1, 2, 5), 0.5)
    gate[0, 0, 1, 3] = 0.9
    maps = GroupMaps("layer3.5", before, gate, gate * before)
    gained = 0.9 / (9 * 0.5 + 0.9) - 0.1
    torch.testing.assert_close(concentration_gained(maps), torch.tensor([[gained]]))
    torch.testing.assert_close(gate_contrast(gate), torch.tensor([[0.4]]))
    with pytest.raises(ValueError, match="has no SGE"):
        concentration_gained(GroupMaps("layer3.5", before))
