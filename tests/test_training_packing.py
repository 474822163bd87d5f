"""Packed pictures: what is kept, what is held out, and what a broken pack says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sge_viz.images import open_picture
from sge_viz.statistics.accuracy import wordnet_ids
from sge_viz.training import packing
from sge_viz.training.packing import NotPacked, open_pack, pack, square
from sge_viz.training.teacher import from_bytes
from tests.training_example import SIDE, StubTeacher, write_pictures

IDS = wordnet_ids()


@pytest.fixture
def teacher():
    return StubTeacher()


@pytest.fixture
def folders(tmp_path):
    """Two ImageNet classes, pictures in sub-folders, and pictures in none."""
    write_pictures(tmp_path / "known", {IDS[281]: 2, IDS[7]: 3})
    write_pictures(tmp_path / "pets", {"cat": 8, "dog": 6}, seed=2)
    write_pictures(tmp_path / "wild", {"": 5}, seed=3)
    return [tmp_path / name for name in ("known", "pets", "wild")]


def packed_by(folders, out, teacher, **options):
    return pack(folders, out, teacher, **{"side": SIDE, "batch": 4} | options)


def test_folders_named_by_wordnet_ids_give_labels_and_no_others(folders, tmp_path, teacher):
    told = []
    made = packed_by(
        folders, tmp_path / "out", teacher, progress=lambda done, all: told.append((done, all))
    )
    assert made.labels.tolist() == [[7, 7]] * 3 + [[281, 281]] * 2 + [[0, 999]] * 19
    assert [(s.name, s.pictures, s.labelled) for s in made.sources] == [
        ("known", 5, True),
        ("pets", 14, False),
        ("wild", 5, False),
    ]
    assert len(made) == len(made.pictures) == len(made.features) == 24
    assert made.teacher == "stub" and made.side == SIDE
    assert told[-1] == (24, 24) and told == sorted(told)


def test_a_folder_name_can_tell_the_classes_that_its_pictures_can_show(tmp_path, teacher):
    write_pictures(tmp_path / "pets" / "train", {"Cat": 2, "fish": 1})
    means = {"cat": (281, 285), "dog": (151, 268)}
    made = packed_by([tmp_path / "pets"], tmp_path / "out", teacher, means=means)
    assert made.labels.tolist() == [[281, 285]] * 2 + [[0, 999]]
    assert made.sources[0].labelled


@pytest.mark.parametrize("classes", [(5, 4), (-1, 3), (0, 1000)])
def test_a_folder_name_that_cannot_mean_such_classes_is_refused(tmp_path, teacher, classes):
    write_pictures(tmp_path / "cat", {"cat": 1})
    with pytest.raises(NotPacked, match="cat cannot mean the classes"):
        packed_by([tmp_path / "cat"], tmp_path / "out", teacher, means={"cat": classes})


def test_one_odd_folder_leaves_the_whole_source_without_labels(tmp_path, teacher):
    write_pictures(tmp_path / "mixed", {IDS[1]: 2, "other": 2})
    made = packed_by([tmp_path / "mixed"], tmp_path / "out", teacher)
    assert made.labels.tolist() == [[0, 999]] * 4


def test_what_is_kept_is_the_square_and_what_the_teacher_sees_in_it(folders, tmp_path, teacher):
    """By hand: Pillow's crop, torch's resize, one picture at a time."""
    made = packed_by(folders[2:], tmp_path / "out", teacher)
    for row, path in enumerate(sorted(folders[2].iterdir())):
        with Image.open(path) as image:
            edge = min(image.size)
            left, top = (image.width - edge) / 2, (image.height - edge) / 2
            box = (left, top, left + edge, top + edge)
            wanted = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
        np.testing.assert_array_equal(made.pictures[row], np.asarray(wanted))
        pixels = torch.tensor(np.asarray(wanted)).permute(2, 0, 1)[None] / 255
        resized = torch.nn.functional.interpolate(pixels, (96, 96), mode="bilinear", antialias=True)
        seen = from_bytes(made.features[row]).permute(2, 0, 1)
        # The teacher ran in bfloat16: a part in 256 of features up to 6, and half a byte's step.
        torch.testing.assert_close(seen, teacher(resized)[0], rtol=0, atol=0.06)
        assert seen.max() > 0.5
    weight, bias = made.classifier
    assert torch.equal(weight, teacher.classifier.weight)
    assert torch.equal(bias, teacher.classifier.bias)


def test_a_square_is_the_centre(tmp_path):
    wide = Image.new("RGB", (90, 30), "red")
    wide.paste("lime", (30, 0, 60, 30))
    np.testing.assert_array_equal(square(wide, 30), np.full((30, 30, 3), (0, 255, 0)))
    np.testing.assert_array_equal(square(wide.rotate(90, expand=True), 30)[:, :, 1], 255)


def test_held_out_pictures_are_as_many_of_each_folder_and_truly_absent(folders, tmp_path, teacher):
    made = packed_by(folders, tmp_path / "out", teacher, hold_out=6)
    known, pets, wild = made.sources
    assert known.held_out == () and known.pictures == 5
    kinds = [path.split("/")[0] for path in pets.held_out]
    assert (kinds.count("cat"), kinds.count("dog")) == (3, 3) and pets.pictures == 8
    assert len(wild.held_out) == 5 - wild.pictures == 5
    again = packed_by(folders, tmp_path / "again", teacher, hold_out=6)
    assert again.sources == made.sources and again.sha256 == made.sha256
    squares = {pixels.numpy().tobytes() for pixels in made.pictures}
    every = [str(path.relative_to(folders[1])) for path in folders[1].rglob("*.png")]
    for path in every:
        pixels = square(open_picture(folders[1] / path).image, SIDE)
        assert (pixels.tobytes() in squares) == (path not in pets.held_out)


def test_what_cannot_be_shared_out_equally_is_held_out_of_the_first_folders(
    folders, tmp_path, teacher
):
    made = packed_by(folders[1:2], tmp_path / "out", teacher, hold_out=1)
    assert [path.split("/")[0] for path in made.sources[0].held_out] == ["cat"]


def test_what_is_held_out_does_not_depend_on_the_other_pictures(folders, tmp_path, teacher):
    before = packed_by(folders[1:2], tmp_path / "a", teacher, hold_out=6).sources[0].held_out
    for path in (folders[1] / "cat").iterdir():
        if f"cat/{path.name}" not in before:
            path.unlink()
            break
    after = packed_by(folders[1:2], tmp_path / "b", teacher, hold_out=6).sources[0].held_out
    assert after == before


def test_damaged_pictures_are_refused_and_listed_and_the_others_intact(folders, tmp_path, teacher):
    whole = packed_by(folders, tmp_path / "whole", teacher)
    (folders[0] / IDS[7] / "0000.jpg").write_bytes(b"\xff\xd8\xffbroken")
    (folders[1] / "cat" / "0040.png").write_text("<html>")
    made = packed_by(folders, tmp_path / "made", teacher)
    assert [[path for path, _ in source.refused] for source in made.sources] == [
        [f"{IDS[7]}/0000.jpg"],
        ["cat/0040.png"],
        [],
    ]
    assert all("0040.png" in reason for _, reason in made.sources[1].refused)
    assert len(made) == len(made.pictures) == len(made.features) == 24
    assert torch.equal(made.labels, whole.labels)
    assert torch.equal(made.pictures, whole.pictures)
    assert torch.equal(made.features, whole.features)


def test_an_interrupted_pack_is_none(folders, tmp_path, teacher):
    out = tmp_path / "out"
    packed_by(folders, out, teacher)

    def stop(done, total):
        if done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packed_by(folders, out, teacher, progress=stop)
    assert (out / packing.PICTURES).exists()
    with pytest.raises(NotPacked, match="holds no packed pictures: make them with"):
        open_pack(out)
    assert len(packed_by(folders, out, teacher)) == 24


def test_the_manifest_is_written_last(folders, tmp_path, teacher, monkeypatch):
    def none(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(packing.np, "savez", none)
    with pytest.raises(OSError, match="disk full"):
        packed_by(folders, tmp_path / "out", teacher)
    assert not (tmp_path / "out" / packing.MANIFEST).exists()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"hold_out": -1}, "0 or more"),
        ({"side": 0}, "Squares of 0 pixels"),
        ({"folders": "missing"}, "missing is not a folder"),
        ({"folders": "twice"}, "each of them once"),
        ({"hold_out": 5, "folders": "wild"}, "All pictures would be held out"),
    ],
)
def test_what_cannot_be_packed_is_a_sentence_and_harms_no_pack(
    folders, tmp_path, teacher, wrong, sentence
):
    out = tmp_path / "out"
    before = packed_by(folders, out, teacher).sha256
    others = {"missing": [tmp_path / "missing"], "twice": [folders[0]] * 2, "wild": folders[2:]}
    chosen = others.get(wrong.get("folders"), folders)
    options = {name: value for name, value in wrong.items() if name != "folders"}
    with pytest.raises(ValueError, match=sentence):
        packed_by(chosen, out, teacher, **options)
    assert open_pack(out).sha256 == before


def test_nothing_but_damaged_pictures_is_a_sentence(tmp_path, teacher):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"nothing")
    with pytest.raises(NotPacked, match="None of the pictures can be read"):
        packed_by([tmp_path / "bad"], tmp_path / "out", teacher)


def test_folders_of_one_name_are_told_apart(tmp_path, teacher):
    for set_ in ("one", "two"):
        write_pictures(tmp_path / set_ / "train", {"": 2}, seed=len(set_))
    made = packed_by([tmp_path / s / "train" for s in ("one", "two")], tmp_path / "out", teacher)
    assert [source.name for source in made.sources] == ["one/train", "two/train"]


def test_another_pack_has_another_hash(folders, tmp_path, teacher):
    """Also where names, numbers and labels are the same."""
    write_pictures(tmp_path / "other" / "wild", {"": 5}, seed=9)
    one = packed_by(folders[2:], tmp_path / "one", teacher)
    two = packed_by([tmp_path / "other" / "wild"], tmp_path / "two", teacher)
    assert one.sources == two.sources and one.sha256 != two.sha256


def test_a_name_that_is_no_text_is_packed(tmp_path, teacher):
    write_pictures(tmp_path / "odd", {"": 3})
    (tmp_path / "odd" / "000.png").rename(tmp_path / "odd" / os.fsdecode(b"\xff.png"))
    made = packed_by([tmp_path / "odd"], tmp_path / "out", teacher, hold_out=1)
    assert len(made) == 2


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", '{"sources": 3}'])
def test_what_is_no_pack_is_a_sentence(tmp_path, content):
    if content is not None:
        (tmp_path / packing.MANIFEST).write_text(content)
    with pytest.raises(NotPacked, match="holds no packed pictures"):
        open_pack(tmp_path)


@pytest.mark.parametrize("name", [packing.FEATURES, packing.PICTURES, packing.CLASSIFIER])
def test_a_damaged_pack_is_a_sentence(folders, tmp_path, teacher, name):
    packed_by(folders, tmp_path / "out", teacher)
    path = tmp_path / "out" / name
    for content in (path.read_bytes()[:200], b"", b"junk"):
        path.write_bytes(content)
        with pytest.raises(NotPacked, match="anew, if they are damaged"):
            open_pack(tmp_path / "out")
    if name != packing.CLASSIFIER:
        np.save(path.with_suffix(".npy"), np.zeros((1, 2, 2, 3), np.uint8))
        with pytest.raises(NotPacked, match="anew, if they are damaged"):
            open_pack(tmp_path / "out")


def test_training_and_validation_pictures_are_not_packed_together(tmp_path, teacher):
    for part in ("train", "val"):
        write_pictures(tmp_path / "imagenette" / part, {"n01440764": 2})
    with pytest.raises(NotPacked, match="holds the folders train and val"):
        packed_by([tmp_path / "imagenette"], tmp_path / "out", teacher)


def test_the_manifest_is_plain_json(folders, tmp_path, teacher):
    packed_by(folders, tmp_path / "out", teacher)
    text = Path(tmp_path / "out" / packing.MANIFEST).read_text()
    assert json.loads(text)["sources"][0]["name"] == "known" and str(tmp_path) not in text
