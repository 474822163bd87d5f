import io
import itertools
import re
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image
from render_examples import example

from sge_viz.render import (
    SCALES,
    PictureMaps,
    colourise,
    figure2,
    figure_bytes,
    limits,
    mosaic,
    norm_histogram,
)

ROOT = Path(__file__).resolve().parents[1]
LAYER = "layer3.5: stage 4 (conv4_x), 14x14"


def rows(count=2, groups=64, size=14, after=True):
    result = []
    for seed in range(count):
        before, _, behind = example(groups, size, size, seed)
        image = np.random.default_rng(seed).integers(0, 256, (224, 224, 3), dtype=np.uint8)
        result.append(PictureMaps(image, before, behind if after else None, f"dog {seed}.jpg"))
    return result


def svg_text(figure):
    root = ElementTree.fromstring(figure_bytes(figure, "svg"))
    return [" ".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


def pdf_text(figure):
    """Return the strings a PDF shows, read from its decompressed streams."""
    lines = []
    streams = re.findall(rb"stream\r?\n(.*?)endstream", figure_bytes(figure, "pdf", dpi=30), re.S)
    for content in (zlib.decompressobj().decompress(stream) for stream in streams):
        for shown in re.findall(rb"\nBT\n(.*?)\nET\n", content, re.S):
            pieces = re.findall(rb"\(((?:\\.|[^\\)])*)\)", shown)
            letters = re.sub(rb"\\(.)", rb"\1", b"".join(pieces))
            lines.append(letters.decode("latin-1").replace("\0", ""))
    return lines


def pixels(figure, dpi=100):
    return np.asarray(Image.open(io.BytesIO(figure_bytes(figure, dpi=dpi))).convert("RGB"))


def test_figure2_says_what_it_shows():
    figure = figure2(rows(2), [17, 21, 40], layer=LAYER, checkpoint="stop-gap")
    for text in (svg_text(figure), pdf_text(figure)):
        whole = " ".join(text)
        for group in ("group 17 (18th)", "group 21 (22nd)", "group 40 (41st)"):
            assert text.count(group) == 1
        assert text.count("before") == text.count("after") == 3
        assert f"{LAYER}, stop-gap" in whole
        assert "dog 0.jpg" in text
        assert "dog 1.jpg" in text
        assert "as in the paper" in whole
        assert "Groups are counted from 0" in whole


@pytest.mark.parametrize(("scale", "numbers"), [("own", 2 * 6), ("shared", 2 * 3), ("layer", 2)])
def test_figure2_writes_the_numbers_of_its_scale(scale, numbers):
    pictures = rows(2)
    text = svg_text(figure2(pictures, [17, 21, 40], scale=scale))
    ranges = [line for line in text if re.fullmatch(r"[\d.]+\N{EN DASH}[\d.]+", line)]
    assert len(ranges) == numbers
    ends = limits(pictures[0].before, pictures[0].after, scale).before.of(17)
    low, high = (float(number) for number in ranges[0].split("\N{EN DASH}"))
    assert low == pytest.approx(ends[0], abs=0.006)
    assert high == pytest.approx(ends[1], abs=0.06)
    expected = {"own": "Each map its own", "shared": "of a group", "layer": "of all groups"}
    assert expected[scale] in " ".join(text)


@pytest.mark.parametrize("scale", ["own", "shared", "layer"])
def test_figure2_draws_cells_in_the_colours_of_colourise(scale):
    pictures = rows(2, groups=3, size=4)
    shown = pixels(figure2(pictures, [2, 0], scale=scale), dpi=200)
    for picture in pictures:
        ends = limits(picture.before, picture.after, scale)
        spots = []
        for group in (2, 0):
            for maps, kind in ((picture.before, ends.before), (picture.after, ends.after)):
                spots.append(cells_found(shown, colourise(maps[group], *kind.of(group))))
        # before left of after, the first group left of the second, all on one line
        assert spots == sorted(spots)
        assert len({y for _, y in spots}) == 1


def test_figure2_names_stand_over_their_maps():
    (row,) = rows(1, groups=9, size=4)
    figure = figure2([row], [8, 0], scale="own")
    shown = pixels(figure, dpi=200)
    ends = limits(row.before, row.after, "own")
    written = [(text.get_position()[0], text.get_text()) for text in figure.axes[0].texts]
    for group in (8, 0):
        before = cells_found(shown, colourise(row.before[group], *ends.before.of(group)))[0] / 200
        after = cells_found(shown, colourise(row.after[group], *ends.after.of(group)))[0] / 200
        width = after - before
        assert "before" in [text for x, text in written if before < x < after]
        assert "after" in [text for x, text in written if after < x < after + width]
        over_both = [text for x, text in written if abs(x - after) < 0.1]
        assert any(text.startswith(f"group {group} ") for text in over_both)


def cells_found(shown, colours):
    """Return the place of a map whose cells are blocks of one colour, however large."""
    first = np.argwhere((shown == colours[0, 0]).all(axis=2))
    for y, x in first:
        if y and (shown[y - 1, x] == colours[0, 0]).all():
            continue
        if x and (shown[y, x - 1] == colours[0, 0]).all():
            continue
        line = shown[y, x:]
        changes = np.argwhere((line[1:] != line[:-1]).any(axis=1))
        side = int(changes[0, 0]) + 1
        middles = side // 2 + np.round(np.arange(len(colours)) * side).astype(int)
        block = shown[np.ix_(y + middles, x + middles)] if side > 20 else None
        if block is not None and np.array_equal(block, colours):
            return int(x), int(y)
    raise AssertionError("the map is not in the figure")


@pytest.mark.parametrize("pictures", [1, 9])
@pytest.mark.parametrize("groups", [1, 6])
def test_text_keeps_its_size_and_its_place(pictures, groups):
    figure = figure2(rows(pictures), range(groups), layer=LAYER, checkpoint="c" * 30)
    width, height = figure.get_size_inches()
    assert 3 < width < 12
    figure.canvas.draw()
    boxes = []
    for text in figure.axes[0].texts:
        assert 6 <= text.get_fontsize() <= 8
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width * figure.dpi
        assert box.y1 <= height * figure.dpi
        boxes.append(box)
    for number, box in enumerate(boxes):
        for other in boxes[number + 1 :]:
            # no letters over others: touching line boxes may share a pixel or two of leading
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            down = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert across <= 1 or down <= 3


@pytest.mark.parametrize("dpi", [60, 110, 150])
def test_the_caption_is_whole_at_any_resolution(dpi):
    for groups, scale in itertools.product(([0], range(8)), SCALES):
        figure = figure2(rows(1), groups, scale=scale, layer=LAYER, checkpoint="c" * 30)
        drawn = Image.open(io.BytesIO(figure_bytes(figure, dpi=dpi))).convert("L")
        assert np.asarray(drawn)[:, -2:].min() == 255  # nothing runs over the edge


def test_figure2_without_sge_and_with_odd_shapes():
    text = svg_text(figure2(rows(1, after=False), [3]))
    assert "before" not in text
    assert "group 3 (4th)" in text
    wide = PictureMaps(np.zeros((50, 400, 3), np.uint8), np.ones((2, 2, 16)), np.ones((2, 2, 16)))
    tall = PictureMaps(np.zeros((400, 50, 3), np.uint8), np.ones((2, 16, 2)), np.ones((2, 16, 2)))
    dot = PictureMaps(np.zeros((1, 1, 3), np.uint8), np.ones((2, 1, 1)), np.ones((2, 1, 1)))
    assert pixels(figure2([wide, tall, dot], [0, 1], smooth=True)).size


def test_names_are_text_and_never_mathematics():
    pictures = rows(1)
    odd = PictureMaps(pictures[0].image, pictures[0].before, pictures[0].after, "$a$ <&\x00\n.png")
    assert "$a$ <& .png" in svg_text(figure2([odd], [0], layer="$\\alpha", width=7))


def test_figure2_refuses_in_sentences():
    good = rows(1)
    with pytest.raises(ValueError, match="at least one"):
        figure2([], [1])
    with pytest.raises(ValueError, match="at least one"):
        figure2(good, [])
    for group in (-1, 64):
        with pytest.raises(ValueError, match="from 0 to 63"):
            figure2(good, [group])
    with pytest.raises(ValueError, match="draw them apart"):
        figure2(good + rows(1, after=False), [0])
    with pytest.raises(ValueError, match="choose one of: shared"):
        figure2(good, [0], scale="paper")


def test_histogram_counts_every_value_once_with_the_same_bins():
    before, _, after = example(64, 14, 14)
    figure = norm_histogram(before, after, layer=LAYER, mark="mean")
    steps = [patch for patch in figure.axes[0].patches if patch.get_fill()]
    edges = [patch.get_data().edges for patch in steps]
    assert np.array_equal(*edges)
    for patch, values in zip(steps, (before, after), strict=True):
        heights = patch.get_data().values
        assert heights.sum() == values.size
        low, high = edges[0][3], edges[0][4]
        assert heights[3] == ((values >= low) & (values < high)).sum()
    text = svg_text(figure)
    assert f"mean {before.mean():#.3g}" in text
    assert f"mean {after.mean():#.3g}" in text
    assert f"all 64 groups, {LAYER}" in text
    assert "number of places" in text


def test_histogram_of_one_group_as_density_on_a_logarithmic_axis():
    before, _, after = example(64, 14, 14)
    figure = norm_histogram(before[17], after[17], group=17, density=True, log=True, bins=11)
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    for patch in axes.patches:
        data = patch.get_data()
        assert len(data.values) == 11
        assert (data.values * np.diff(data.edges)).sum() == pytest.approx(1)
    text = svg_text(figure)
    assert "group 17 (18th)" in text
    assert "density" in text
    assert f"median {np.median(before[17]):#.3g}" in text


@pytest.mark.parametrize("value", [0.0, 3.0, 1e-30, 1e20])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("log", [False, True])
def test_histogram_of_a_constant(value, after, log):
    figure = norm_histogram([[value]], [[value]] if after else None, log=log)
    for patch in figure.axes[0].patches:
        data = patch.get_data()
        assert data.values.sum() == 1
        full = len(data.values) // 2
        assert data.values[full] == 1
        width = data.edges[1] - data.edges[0]
        assert abs(data.edges[full : full + 2].mean() - value) < width / 100
    assert ("after SGE" in svg_text(figure)) is after


def test_histogram_refuses_in_sentences():
    with pytest.raises(ValueError, match="no values"):
        norm_histogram([])
    with pytest.raises(ValueError, match=r"'after'.*not finite"):
        norm_histogram([1.0], [np.nan])
    with pytest.raises(ValueError, match="1 or more"):
        norm_histogram([1.0], bins=0)
    with pytest.raises(ValueError, match="'median' or 'mean'"):
        norm_histogram([1.0], mark="mode")


SCRIPT = """
import hashlib, sys
import numpy as np
from sge_viz.render import PictureMaps, figure2, figure_bytes, norm_histogram
maps = np.linspace(0, 1, 64 * 9).reshape(64, 3, 3)
image = np.full((30, 30, 3), 90, np.uint8)
row = PictureMaps(image, maps, maps / 2)
for figure in (figure2([row], [1, 5]), norm_histogram(maps, maps / 2)):
    for kind in ("png", "svg", "pdf"):
        print(hashlib.sha256(figure_bytes(figure, kind)).hexdigest())
print("matplotlib.pyplot" in sys.modules, "torch" in sys.modules, "gradio" in sys.modules)
"""


def test_files_are_the_same_in_every_process_and_need_neither_pyplot_nor_torch():
    outputs = set()
    for seed, epoch in (("1", "1000000000"), ("2", "")):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
        if epoch:
            environment["SOURCE_DATE_EPOCH"] = epoch
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=environment,
            capture_output=True,
            check=True,
            text=True,
        )
        outputs.add(done.stdout)
    (output,) = outputs
    assert output.endswith("False False False\n")


def test_files_hold_no_dates_and_embedded_fonts():
    figure = norm_histogram([1.0, 2.0])
    pdf, svg = figure_bytes(figure, "pdf"), figure_bytes(figure, "svg")
    assert b"CreationDate" not in pdf
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"<dc:date>" not in svg
    outlines = figure_bytes(figure, "svg", svg_text=False)
    assert b"<text" not in outlines
    assert figure_bytes(figure, ".PNG").startswith(b"\x89PNG")
    assert len(figure_bytes(figure, dpi=50)) < len(figure_bytes(figure, dpi=300))


def test_an_unknown_format_gets_a_sentence():
    with pytest.raises(ValueError, match="choose one of: png, svg, pdf"):
        figure_bytes(norm_histogram([1.0]), "webp")


def test_a_very_wide_figure_still_fits_a_png():
    maps = np.ones((300, 1, 1))
    figure = figure2([PictureMaps(np.zeros((9, 9, 3), np.uint8), maps)], range(300))
    width, _ = Image.open(io.BytesIO(figure_bytes(figure, dpi=600))).size
    assert 30_000 < width < 2**16


def test_the_process_settings_neither_matter_nor_change():
    expected = figure_bytes(norm_histogram([1.0, 2.0]), "svg")
    with matplotlib.rc_context(
        {"font.size": 30, "text.color": "red", "axes.grid": True, "svg.hashsalt": "other"}
    ):
        assert figure_bytes(norm_histogram([1.0, 2.0]), "svg") == expected
        assert matplotlib.rcParams["font.size"] == 30
        assert matplotlib.rcParams["svg.hashsalt"] == "other"


def test_many_threads_draw_the_same():
    pictures = rows(2)

    def draw(number):
        figure = figure2(pictures, [1, 2]) if number % 2 else norm_histogram(pictures[0].before)
        return figure_bytes(figure, ("png", "svg", "pdf")[number % 3], dpi=60)

    expected = [draw(number) for number in range(6)]
    with ThreadPoolExecutor(8) as pool:
        for number, data in enumerate(pool.map(draw, range(12))):
            assert data == expected[number % 6]


def test_many_threads_draw_the_same_mosaics():
    maps = example(8, 7, 7)
    expected = mosaic(*maps, title="the same").tobytes()
    with ThreadPoolExecutor(8) as pool:
        for picture in pool.map(lambda _: mosaic(*maps, title="the same"), range(40)):
            assert picture.tobytes() == expected
