"""`stats`, `audit`, `figure`, `index` and `evaluate`, run as commands with the bundled weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sge_viz.cli import main
from sge_viz.statistics import Index

ASSETS = Path(__file__).resolve().parents[1] / "assets"
QUICK = ["--device", "cpu", "--batch", "3", "--shard", "4", "--workers", "0"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Six example pictures in two class folders, named as ImageNet's."""
    folder = tmp_path_factory.mktemp("data")
    classes = {"n02123045": ["cat", "lion", "cheetah"], "n02099601": ["dog", "raccoon", "lemur"]}
    for name, stems in classes.items():
        (folder / name).mkdir()
        for stem in stems:
            shutil.copy(ASSETS / f"{stem}.jpg", folder / name)
    return folder


@pytest.fixture(scope="module")
def result(pictures, tmp_path_factory):
    """The folder of a run over them, with an index from the same pass."""
    out = tmp_path_factory.mktemp("run") / "made"
    names = ["--index", str(out / "index.npz"), "--json", str(out / "r.json"), "--maps"]
    assert main(["stats", str(pictures), "--out", str(out), "--top", "2", *QUICK, *names]) == 0
    return out


def test_stats_writes_arrays_json_and_index_in_one_pass(result, pictures):
    plain = json.loads((result / "r.json").read_text())
    assert list(plain["layers"]) == ["layer3.5", "layer4.2"]
    assert plain["layers"]["layer3.5"]["title"] == "layer3.5: stage 4 (conv4_x), 14x14"
    assert plain["provenance"]["counted"] == 6
    assert plain["layers"]["layer4.2"]["groups"]["gate"]["count"] == [6 * 49] * 64
    index = Index.load(result / "index.npz")
    assert index.classes == ("n02099601", "n02123045") and index.k == 2
    assert index.strongest("layer3.5", 17)[0].after.shape == (14, 14)
    with np.load(result / "result.npz", allow_pickle=False) as archive:
        assert archive["layer3.5/joint"].sum() == 6 * 196 * 64


def test_the_same_command_goes_on_and_another_setting_is_refused(result, pictures, capsys):
    before = (result / "shard-000000.npz").stat().st_mtime_ns
    again = ["stats", str(pictures), "--out", str(result), "--top", "2", *QUICK]
    assert main([*again, "--index", str(result / "again.npz")]) == 0
    assert (result / "shard-000000.npz").stat().st_mtime_ns == before
    capsys.readouterr()
    assert main([*again, "--near-zero", "0.1", "--index", str(result / "never.npz")]) == 1
    said = capsys.readouterr().err
    assert "near_zero was 0.5 and is now 0.1" in said and "Choose another folder" in said


def test_audit_speaks_and_writes_json(result, capsys):
    assert main(["audit", str(result), "--json", str(result / "audit.json")]) == 0
    said = capsys.readouterr().out
    plain = json.loads((result / "audit.json").read_text())
    for layer, verdicts in plain["layers"].items():
        assert f"## {layer}" in said
        for verdict in verdicts:
            assert f'"{verdict["claim"]}": {verdict["verdict"]}' in said
    assert main(["audit", str(result / "result.npz"), "--layer", "layer1.0"]) == 2
    assert "no layer 'layer1.0'" in capsys.readouterr().err


@pytest.mark.parametrize("figure", ["3", "4"])
@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?")])
def test_figures_of_a_result(result, tmp_path, figure, kind, start):
    out = tmp_path / "new" / f"figure.{kind}"
    assert main(["figure", figure, str(result), "--out", str(out), "--layer", "layer3.5"]) == 0
    data = out.read_bytes()
    assert data.startswith(start)
    if kind == "svg":
        text = data.decode()
        assert "layer3.5:" in text and "conv4_x" in text
        assert "published" not in text  # these weights are not the paper's
    if kind == "pdf":
        assert b"/FontFile2" in data and b"/Type3" not in data


def test_figure_2_of_any_pictures(tmp_path, capsys):
    out = tmp_path / "f2.svg"
    pictures = [str(ASSETS / "dog.jpg"), str(ASSETS / "cat.jpg")]
    options = ["--groups", "0,63", "--colour-map", "magma", "--scale", "shared", "--out", str(out)]
    assert main(["figure", "2", *pictures, *options]) == 0
    text = out.read_text()
    assert "group 0 (1st)" in text and "group 63 (64th)" in text
    assert main(["figure", "2", str(tmp_path / "no.jpg"), "--out", str(out)]) == 1
    assert main(["figure", "2", *pictures, "--groups", "64", "--out", str(out)]) == 2
    assert main(["figure", "2", *pictures, "--layer", "layer9", "--out", str(out)]) == 2
    assert main(["figure", "3", str(tmp_path), "--out", "x.png"]) == 2
    assert main(["figure", "3", str(tmp_path), "--out", "x.doc"]) == 2
    said = capsys.readouterr().err
    for words in ("There is no group 64", "layer9", "run `stats` first", "choose .png, .svg"):
        assert words in said


def test_index_alone(pictures, tmp_path, capsys):
    target = tmp_path / "i.npz"
    options = ["--layer", "layer4.2", "--top", "1", "--index", str(target), "--json"]
    assert main(["index", str(pictures), *QUICK, *options]) == 0
    plain = json.loads(capsys.readouterr().out)
    index = Index.load(target)
    best = index.strongest("layer4.2", 0, "before")[0]
    assert plain["layers"]["layer4.2"]["before"][0][0]["path"] == best.path
    assert best.image().size == (112, 112)


def test_evaluate_names_both_figures(pictures, capsys):
    assert main(["evaluate", str(pictures), *QUICK, "--json"]) == 0
    said = capsys.readouterr()
    plain = json.loads(said.out)
    assert plain["pictures"] == 6 and plain["published_top1_percent"] is None
    assert "no published figure" in said.err
    assert main(["evaluate", str(ASSETS), *QUICK]) == 2
    assert "WordNet id" in capsys.readouterr().err


def test_damaged_pictures_decide_the_exit_code(pictures, tmp_path, capsys):
    folder = tmp_path / "some"
    shutil.copytree(pictures / "n02099601", folder)
    for number in range(2):
        (folder / f"broken{number}.png").write_bytes(b"nothing")
    for allowed, code in (("1", 1), ("2", 0), ("39%", 1), ("40%", 0)):
        out = ["--out", str(tmp_path / "run"), "--layer", "layer4.2", "--no-controls"]
        assert main(["stats", str(folder), *QUICK, *out, "--max-bad", allowed]) == code
    said = capsys.readouterr().err
    assert "broken0.png was refused" in said and "2 of 5 pictures were refused" in said
    assert main(["audit", str(tmp_path / "run")]) == 2
    assert "without the controls" in capsys.readouterr().err
    assert main(["stats", str(folder), "--max-bad", "many"]) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layer", "layer9"], "no layer layer9"),
        (["--batch", "0"], "batch size is 0"),
        (["--near-zero", "2"], "between 0 and 1"),
        (["--bins", "5"], "choose 1, 2, 4"),
        (["--checkpoint", "nothing.pth"], "nothing.pth"),
    ],
)
def test_wrong_options_are_sentences(pictures, tmp_path, capsys, options, words):
    assert main(["stats", str(pictures), "--out", str(tmp_path), *options]) in (1, 2)
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_a_sentence(tmp_path, capsys):
    for command in ("stats", "index", "evaluate"):
        assert main([command, str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("There is no picture in") == 3
