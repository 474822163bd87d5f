"""The example pictures: whole, small, without metadata, and credited."""

import re
from pathlib import Path

import pytest
from PIL import Image

from sge_viz.images import open_picture, prepare

ASSETS = Path(__file__).parents[1] / "assets"
PICTURES = sorted(path for path in ASSETS.iterdir() if path.suffix not in {".md", ".npz"})
CREDITS = (ASSETS / "CREDITS.md").read_text("utf-8")


def test_there_are_at_least_five_pictures_and_a_dog():
    assert len(PICTURES) >= 5
    assert ASSETS / "dog.jpg" in PICTURES


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_picture_is_whole_upright_rgb_and_small(path):
    picture = open_picture(path)
    assert picture.notes == ()
    assert min(picture.original_size) >= 224
    assert max(picture.original_size) <= 1024
    assert path.stat().st_size < 300_000
    assert prepare(picture).size == (224, 224)


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_picture_has_no_metadata(path):
    with Image.open(path) as image:
        image.load()
        assert not image.getexif()
        assert not {"exif", "icc_profile", "xmp", "comment", "photoshop"} & image.info.keys()


def test_every_picture_is_credited_once_and_nothing_else_is():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in CREDITS.splitlines()
        if re.match(r"\| \w+\.\w+ ", line)
    ]
    assert sorted(row[0] for row in rows) == [path.name for path in PICTURES]
    for row in rows:
        assert len(row) == 6
        assert all(row)
        assert re.search(r"CC0|public domain|MIT|Apache 2\.0", row[3])
