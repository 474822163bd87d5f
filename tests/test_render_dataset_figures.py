"""Figures 3 and 4 draw the numbers that they are given."""

import numpy as np
import pytest

from sge_viz.render.dataset_figures import PUBLISHED_PEAKS, figure3, figure4
from sge_viz.render.figure_files import figure_bytes

EDGES = np.array([0.5, 1, 2, 4, 8])
BEFORE = np.array([10, 0, 30, 50, 0, 10])
AFTER = np.array([0, 50, 50, 0, 0, 0])


def test_figure_3_has_densities_on_unequal_bins():
    axes = figure3(EDGES, BEFORE, AFTER, title="a layer").axes[0]
    before, _, after, _ = axes.patches
    np.testing.assert_allclose(before.get_data().values, [0, 0.3, 0.25, 0])
    np.testing.assert_allclose(after.get_data().values, [1, 0.5, 0, 0])
    np.testing.assert_array_equal(before.get_data().edges, EDGES)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["before SGE, peak near 1.5", "after SGE, peak near 0.75"]
    assert "below 0.5: 10.00%; beyond the axis: 10.00%" in axes.get_xlabel()


def test_figure_4_has_means_and_whiskers():
    mean, std = np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3])
    axes = figure4(mean, std, mean / 2, std / 2, quantity="activation variance").axes[0]
    for container, factor in zip(axes.containers, (1, 0.5), strict=True):
        np.testing.assert_allclose(container[0].get_ydata(), mean * factor)
        segments = np.array(container[2][0].get_segments())
        np.testing.assert_allclose(segments[:, 1, 1] - segments[:, 0, 1], 2 * std * factor)
    assert axes.get_ylabel() == "activation variance"


@pytest.mark.parametrize("published", [False, True])
def test_published_values_stand_beside_only_where_the_weights_are_published(published):
    values = np.ones(64)
    for figure in (
        figure3(EDGES, BEFORE, AFTER, published=published),
        figure4(values, values, values, values, published=published),
    ):
        text = figure_bytes(figure, "svg").decode()
        assert ("published, read off" in text) == published
        assert len(figure.axes) == (2 if published else 1)
    if published:
        three = figure3(EDGES, BEFORE, AFTER, published=True).axes[1]
        drawn = [line.get_xdata()[0] for line in three.lines[:2]]
        assert drawn == list(PUBLISHED_PEAKS.values())


def test_the_same_figure_gives_the_same_bytes():
    for kind in ("png", "svg", "pdf"):
        one, other = (figure_bytes(figure3(EDGES, BEFORE, AFTER), kind) for _ in range(2))
        assert one == other


@pytest.mark.parametrize(
    "call",
    [
        lambda: figure3(EDGES, BEFORE[:-1], AFTER),
        lambda: figure3(EDGES, [5, 0, 0, 0, 0, 5], AFTER),
        lambda: figure4([1, 2], [1], [1, 2], [1, 2]),
        lambda: figure4([np.nan], [1], [1], [1]),
    ],
)
def test_numbers_that_cannot_be_drawn_are_sentences(call):
    with pytest.raises(ValueError, match=r"need|lies between|finite"):
        call()
