import numpy as np
import pytest
from PIL import Image
from render_examples import enlarged, example, found

from sge_viz.render import OnPicture, colourise, gate_limits, limits, overlay, strip


@pytest.mark.parametrize("scale", ["shared", "layer", "own"])
def test_three_maps_beside_each_other(scale):
    before, gate, after = example(5, 6, 6)
    picture = strip(before, gate, after, 3, scale=scale, size=60)
    norms, gates = limits(before, after, scale), gate_limits(gate, scale)
    spots = []
    for maps, ends in ((before, norms.before), (gate, gates), (after, norms.after)):
        (spot,) = found(picture, enlarged(colourise(maps[3], *ends.of(3)), 10))
        spots.append(spot)
    assert spots == sorted(spots)
    assert len({y for _, y in spots}) == 1


def test_overlays_stand_under_the_maps():
    before, gate, after = example(2, 4, 4)
    image = np.random.default_rng(1).integers(0, 256, (40, 80, 3), dtype=np.uint8)
    box = (20.0, 0.0, 60.0, 40.0)
    picture = strip(before, gate, after, 0, picture=OnPicture(image, box, opacity=0.5), size=80)
    ends = limits(before, after).before.of(0)
    ((map_x, map_y),) = found(picture, enlarged(colourise(before[0], *ends), 20))
    shown = np.asarray(overlay(image, before[0], box, ends, opacity=0.5))
    ((x, y),) = found(picture, shown)
    assert x == map_x
    assert y > map_y + 80


def test_what_is_given_is_written():
    # every fact changes the head of the picture, and nothing else
    before, gate, after = example(2, 4, 4)
    plain = strip(before, gate, after, 0)
    facts = {"layer": "layer3.5", "checkpoint": "mine", "gamma": 0.12, "beta": -1.0}
    for name, value in facts.items():
        told = strip(before, gate, after, 0, **{name: value})
        assert told.height > plain.height
        body = plain.height - 60
        lower = (0, told.height - body, told.width, told.height)
        assert told.crop(lower).tobytes() == plain.crop((0, 60, *plain.size)).tobytes()


def test_without_sge_there_is_one_map():
    before, _, _ = example(2, 4, 4)
    wide, narrow = strip(*example(2, 4, 4), 0), strip(before, None, None, 0)
    assert narrow.width < wide.width / 2
    assert found(narrow, enlarged(colourise(before[0], before[0].min(), before[0].max()), 75))


@pytest.mark.parametrize("shape", [(1, 1), (3, 20), (20, 3), (56, 56)])
@pytest.mark.parametrize("smooth", [False, True, "bicubic"])
def test_any_shape_and_constant_maps(shape, smooth):
    zeros = np.zeros((3, *shape))
    onto = OnPicture(Image.new("RGB", (30, 500)), (0, 10.5, 30, 40.5))
    picture = strip(zeros, zeros, zeros, 2, picture=onto, smooth=smooth, dark=True)
    assert picture.mode == "RGB"


def test_light_and_dark_paper():
    maps = example(2, 4, 4)
    assert strip(*maps, 0).getpixel((0, 0)) == (255, 255, 255)
    assert max(strip(*maps, 0, dark=True).getpixel((0, 0))) < 40


def test_wrong_arguments_get_sentences():
    before, gate, after = example(2, 4, 4)
    for group in (-1, 2):
        with pytest.raises(ValueError, match="from 0 to 1"):
            strip(before, gate, after, group)
    with pytest.raises(ValueError, match="gate has shape"):
        strip(before, gate[:, :2], after, 0)
    with pytest.raises(ValueError, match="16 or more"):
        strip(before, gate, after, 0, size=3)
    with pytest.raises(ValueError, match="not finite"):
        strip(before * np.inf, gate, after, 0)
