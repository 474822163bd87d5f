"""`python -m sge_viz evidence`: JSON and figures that say what Python says."""

import io
import json

import pytest
import torch
from PIL import Image

from sge_viz.cli import main
from sge_viz.evidence.interventions import OFF, Intervention, intervene
from sge_viz.evidence.variants import parse_variant, variant
from sge_viz.images import open_picture, prepare


def command(*words):
    """Run the command as the shell does; return its exit code."""
    return main(["evidence", *map(str, words)])


def is_picture(path):
    with Image.open(path) as image:
        return image.size > (500, 200)


def test_one_picture(model, cat, tmp_path, capsys):
    words = ["--class", "egyptian cat", "--class", 281, "--intervene", "off"]
    words += ["--intervene", "zeroed@layer4.2/17,21", "--variant", "no-normalisation+groups=16"]
    words += ["--ablate", "layer4.2", "--layer", "layer3.5", "--out", tmp_path, "--groups", "17,3"]
    assert command(cat, *words, "--json", "--format", "png", "--format", "svg") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["refused"] == {}
    report = printed["pictures"]["cat"]
    assert report == json.loads((tmp_path / "cat_evidence.json").read_text())

    x = prepare(open_picture(cat)).tensor
    with torch.inference_mode():
        logits = model(x)[0]
        with intervene(model, Intervention(OFF)):
            off = model(x)[0]
        changed = variant(model, normalise=False, groups=16)(x)[0]
    first, second = report["ledger"]["classes"]
    assert (first["index"], first["name"], second["index"]) == (285, "Egyptian cat", 281)
    for entry in (first, second):
        total = entry["bias"] + sum(group["contribution"] for group in entry["groups"])
        assert total == pytest.approx(float(logits[entry["index"]]), abs=1e-4)
        assert [group["group"] for group in entry["groups"]] == list(range(64))
        for group in entry["groups"]:
            assert group["contribution"] == group["through_sge"] + group["through_shortcut"]
    assert report["ledger"]["what"].startswith("exact")
    assert report["approximation"]["what"].startswith("approximation")
    assert report["approximation"]["layer"] == "layer3.5"

    whats = [change["what"] for change in report["changes"]]
    assert whats == [
        "SGE off (gate 1): all groups of all layers",
        "group zeroed (gate 0): groups 17, 21 of layer4.2",
        "no normalisation, 16 groups: untrained for this",
    ]
    for change, expected in ((report["changes"][0], off), (report["changes"][2], changed)):
        assert change["after"]["classes"][0]["logit"] == pytest.approx(
            float(expected[285]), abs=1e-4
        )
        assert change["after"]["top5"][0]["index"] == int(expected.argmax())
        assert change["before"]["top5"][0]["index"] == int(logits.argmax())
    (ablation,) = report["ablations"]
    assert (ablation["layer"], len(ablation["classes"][0]["groups"])) == ("layer4.2", 64)
    assert report["checkpoint"]["name"] == model.card.name
    assert report["input_size"] == [224, 224]

    for kind in ("contributions", "evidence"):
        assert is_picture(tmp_path / f"cat_class285_{kind}.png")
        assert b"<svg" in (tmp_path / f"cat_class281_{kind}.svg").read_bytes()
    assert is_picture(tmp_path / "cat_changes.png")
    assert not list(tmp_path.glob("*.part"))


def test_a_folder_with_faithfulness_and_intervals(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(2):
        noise = torch.randint(0, 255, (60, 60, 3), dtype=torch.uint8).numpy()
        Image.fromarray(noise).resize((230, 230)).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("not a picture")
    from sge_viz.evidence import faithfulness

    shorter = faithfulness.faithfulness

    def quick(*args):
        return shorter(*args, steps=2, road_fractions=(0.5,))

    monkeypatch.setattr(faithfulness, "faithfulness", quick)
    out = tmp_path / "out"
    assert command(folder, "--faithfulness", "--groups", 5, "--out", out) == 0
    assert "2 done, 0 refused" in capsys.readouterr().out
    table = json.loads((out / "faithfulness.json").read_text())
    reports = [json.loads((out / f"{n}_evidence.json").read_text()) for n in range(2)]
    for name in (
        "after",
        "before",
        "gate",
        "group evidence",
        "class evidence",
        "grad-cam",
        "random",
    ):
        for measure in ("deletion", "insertion", "road"):
            values = [report["faithfulness"]["maps"][name][measure] for report in reports]
            found = table[name][measure]
            assert found["mean"] == pytest.approx(sum(values) / 2)
            assert found["low"] <= found["mean"] <= found["high"]
            assert (found["pictures"], found["confidence"]) == (2, 0.95)
    assert reports[0]["faithfulness"]["group"] == 5
    assert is_picture(out / "faithfulness.png")
    assert is_picture(out / "0_faithfulness.png")


def test_the_class_is_the_first_choice_by_default_and_the_text_adds_up(
    model, cat, tmp_path, capsys
):
    assert command(cat, cat, "--out", tmp_path, "--size", 256) == 0
    text = capsys.readouterr().out
    x = prepare(open_picture(cat), 256).tensor
    with torch.inference_mode():
        best = int(model(x).argmax())
    assert (tmp_path / f"cat_class{best}_evidence.png").exists()
    assert (tmp_path / "cat-2_evidence.json").exists()
    assert "= bias " in text and "through the shortcut" in text


def test_a_refused_picture_is_named_and_the_others_done(cat, tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not a picture")
    assert command(bad, cat, "--out", tmp_path / "out", "--json") == 1
    printed = json.loads(capsys.readouterr().out)
    assert list(printed["pictures"]) == ["cat"]
    assert list(printed["refused"]) == ["bad.png"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--class", "sofa bed of nails"], "No class is called"),
        (["--class", "1000"], "There is no class 1000"),
        (["--class", "cat"], "fits several classes, choose one by its index"),
        (["--intervene", "louder"], "is no intervention: write KIND"),
        (["--intervene", "off@layer9.1"], "There is no layer 'layer9.1'"),
        (["--intervene", "off/64"], "There is no group 64"),
        (["--variant", "groups=3"], "3 groups do not divide"),
        (["--variant", "louder"], "is no variant: write one or more of"),
        (["--ablate", "layer9"], "There is no layer 'layer9'"),
        (["--layer", "layer9"], "There is no layer 'layer9'"),
        (["--groups", "64"], "There is no group 64"),
        (["--size", "100"], "100"),
        (["--checkpoint", "nowhere.pth"], "nowhere.pth"),
    ],
)
def test_wrong_words_are_answered_with_sentences(cat, tmp_path, capsys, words, sentence):
    assert command(cat, *words, "--out", tmp_path) in (1, 2)
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said


def test_an_empty_folder_is_said_to_be_empty(tmp_path, capsys):
    assert command(tmp_path, "--out", tmp_path / "out") == 2
    assert "no picture in the folder" in capsys.readouterr().err


def test_variants_are_read_from_words():
    assert parse_variant("initial-gamma+initial-beta") == {"gamma": "initial", "beta": "initial"}
    assert parse_variant("no-normalisation+groups=16") == {"normalise": False, "groups": 16}
    for text in ("", "groups", "groups=x", "groups=-1", "no-normalisation,groups=2"):
        with pytest.raises(ValueError, match="is no variant"):
            parse_variant(text)


def test_figures_refuse_what_they_cannot_draw():
    import numpy as np

    from sge_viz.render.evidence import contribution_chart, evidence_panels
    from sge_viz.render.figure_files import figure_bytes

    with pytest.raises(ValueError, match="one number for each group"):
        contribution_chart(np.zeros(64), np.zeros(63), 0, name="x")
    with pytest.raises(ValueError):
        contribution_chart(np.full(64, np.nan), np.zeros(64), 0, name="x")
    picture = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match="at least one group that is among them"):
        evidence_panels(picture, np.zeros((4, 7, 7)), [4], name="x")
    drawn = figure_bytes(evidence_panels(picture, np.zeros((4, 7, 7)), [0], name="all nothing"))
    assert Image.open(io.BytesIO(drawn)).width > 500


def test_the_bars_and_the_running_total_are_the_numbers():
    import numpy as np

    from sge_viz.render.evidence import contribution_chart

    sge, shortcut = np.array([0.5, -1.0, 2.0]), np.array([0.25, 0.5, -0.5])
    bars, sums = contribution_chart(sge, shortcut, 0.1, name="x").axes
    spans = [(p.get_y(), p.get_y() + p.get_height()) for p in bars.patches]
    # Ranked: group 2 (1.5), 0 (0.75), 1 (-0.5). Parts of one sign lie on each other.
    assert spans[:3] == [(0, 2.0), (0, 0.5), (0, -1.0)]
    assert spans[3:] == [(0, -0.5), (0.5, 0.75), (0, 0.5)]
    assert [text.get_text() for text in sums.get_xticklabels()] == ["2", "0", "1"]
    np.testing.assert_allclose(sums.patches[0].get_data().values, [1.6, 2.35, 1.85])
