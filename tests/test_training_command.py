"""`train`, run as commands: pictures to weights, killed and gone on with, and wrong usage."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sge_viz.checkpoints import load_model
from sge_viz.checkpoints.contents import read
from sge_viz.cli import main
from sge_viz.resnet import sge_resnet18
from sge_viz.training.packing import open_pack
from sge_viz.training.release import release
from sge_viz.training.settings import Settings
from sge_viz.training.state import FILE
from tests.training_example import make_pack

ASSETS = Path(__file__).resolve().parents[1] / "assets"
ROOT = ASSETS.parent
QUICK = [
    *("--images", "16", "--batch", "4", "--phases", "32:0.5,64:0.5", "--device", "cpu"),
    *("--precision", "float32", "--no-compile", "--architecture", "sge_resnet18"),
]


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """The folder of a small pack."""
    return make_pack(tmp_path_factory.mktemp("material")).root


def test_help_answers_without_anything_slow():
    """What is imported counts, not the seconds of a busy machine."""
    code = (
        "import sys; from sge_viz.cli import main; code = main(sys.argv[1:]);"
        "slow = {'torch', 'torchvision', 'gradio', 'numpy', 'matplotlib'} & set(sys.modules);"
        "sys.exit(str(slow) if slow else code)"
    )
    for kind in ([], ["pack"], ["distil"], ["supervised"]):
        command = [sys.executable, "-c", code, "train", *kind, "--help"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "usage:" in done.stdout, done.stderr


def test_from_pictures_to_weights_that_load(tmp_path, capsys):
    """The real teacher looks at the example pictures; one is damaged, two are held out."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in ASSETS.glob("*.jpg"):
        shutil.copy(path, pictures)
    (pictures / "damaged.jpg").write_bytes(b"\xff\xd8\xff")
    packed, out = tmp_path / "pack", tmp_path / "run"
    options = ["--teacher", "lite0", "--side", "64", "--hold-out", "2", "--device", "cpu"]
    options += ["--means", "Pictures=0-397"]  # the animals
    assert main(["train", "pack", str(pictures), "--out", str(packed), *options]) == 0
    said = capsys.readouterr()
    count = len(list(ASSETS.glob("*.jpg")))
    refused = "damaged.jpg" not in open_pack(packed).sources[0].held_out
    assert f"pictures: {count - 1 - refused} pictures with labels, 2 held out" in said.out
    assert (open_pack(packed).labels == torch.tensor([0, 397])).all()
    assert ("pictures/damaged.jpg was refused" in said.err) == refused
    assert main(["train", "distil", str(packed), "--out", str(out), *QUICK, "--sge-rate", "5"]) == 0
    said = capsys.readouterr()
    assert f"16 views learnt: {out / 'weights.safetensors'}" in said.out
    assert "16/16 views: 64 px, loss " in said.err and " images/s, 0:00 left" in said.err
    network = load_model(out / "weights.safetensors", "cpu")
    assert network.card.architecture == "sge_resnet18" and network.card.classes == 1000
    card = read(out / "weights.safetensors", "weights").metadata
    settings = Settings.from_text(card["recipe"])
    assert (settings.sge_rate, settings.phases) == (5.0, ((32, 0.5), (64, 0.5)))
    assert card["teacher"] == "efficientnet-lite0" and card["material"] == open_pack(packed).sha256
    assert json.loads(card["data"]) == {"pictures": count - 1 - refused}


def test_a_twin_and_a_second_run_begin_from_the_first(pack, tmp_path, capsys):
    command = ["train", "distil", str(pack), *QUICK[:-2], "--images", "4"]
    first = tmp_path / "first"
    assert main([*command, "--out", str(first), "--architecture", "sge_resnet18"]) == 0
    start = ["--start", str(first / "weights.safetensors")]
    assert main([*command, "--out", str(tmp_path / "second"), *start]) == 0
    assert main([*command, "--out", str(tmp_path / "twin"), *start, "--without-sge"]) == 0
    plain = ["--start", str(tmp_path / "twin" / "weights.safetensors")]
    assert main([*command, "--out", str(tmp_path / "again"), *plain, "--with-sge"]) == 0
    names = {name: tmp_path / name / "weights.safetensors" for name in ("second", "twin", "again")}
    cards = {name: load_model(path, "cpu").card for name, path in names.items()}
    assert cards["second"].architecture == "sge_resnet18" and cards["twin"].groups is None
    assert cards["again"].architecture == "sge_resnet18" and cards["again"].groups == 64
    capsys.readouterr()
    for words, sentence in (
        ([*start, "--with-sge"], "This SGEResNet has SGE already"),
        ([*plain, "--without-sge"], "This ResNet has no SGE that could be left out"),
        (["--with-sge"], "change the weights of --start: give them"),
    ):
        assert main([*command, "--out", str(tmp_path / "refused"), *words]) == 2
        assert sentence in capsys.readouterr().err
    wrong = ["--architecture", "resnet50"]
    assert main([*command, "--out", str(tmp_path / "third"), *start, *wrong]) == 2
    assert "holds a sge_resnet18, not a resnet50" in capsys.readouterr().err


@pytest.mark.parametrize("native", [False, True])
def test_without_being_told_it_takes_the_precision_of_the_hardware(
    pack, tmp_path, monkeypatch, native
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    options = [word for word in QUICK if word not in ("--precision", "float32")]
    command = ["train", "distil", str(pack), *options, "--images", "4", "--out", str(tmp_path)]
    assert main(command) == 0
    recipe = read(tmp_path / "weights.safetensors", "weights").metadata["recipe"]
    assert Settings.from_text(recipe).precision == ("bfloat16" if native else "float32")


def test_a_killed_command_given_again_ends_with_the_same_weights(pack, tmp_path):
    """SIGKILL after the first saving."""
    words = ["distil", pack, *QUICK, "--images", "40", "--optimiser", "sgd", "--ema", "0"]
    words += ["--save-every", "0"]
    out, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "sge_viz", "train", *map(str, words), "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (out / FILE).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (out / FILE).exists() and not (out / "weights.safetensors").exists()
    step = torch.load(out / FILE, weights_only=True)["step"]
    assert 1 <= step < 10
    words[-1] = "300"
    for folder in (out, whole):
        assert main(["train", *map(str, words), "--out", str(folder)]) == 0
    ours, theirs = (load_file(folder / "weights.safetensors") for folder in (out, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.parametrize(
    ("wrong", "code", "sentence"),
    [
        (["--phases", "96"], 2, "--phases 96 --milestones 0.3,0.6,0.9: write them as"),
        (["--phases", "96:0.5"], 2, "phases whose shares add up to 0.5"),
        (["--start", "nothing.safetensors"], 1, "nothing.safetensors"),
        (["--architecture", "vgg"], 2, "There is no architecture 'vgg'"),
        (["--repeat", "dogs=2"], 2, "There is no source 'dogs' in the pack"),
        (["--repeat", "dogs"], 2, "write it as imagewoof=2"),
        (["--area", "1"], 2, "give two numbers"),
        (["--rate", "nan"], 2, "the learning rate nan"),
        (["--optimiser", "lamb"], 2, "invalid choice: 'lamb'"),
        (["--seed", "9" * 23], 2, "give a whole number from 0"),
        (["--milestones", "nan"], 2, "the milestones"),
        (["--save-every", "nan"], 2, "Saving every nan seconds"),
    ],
)
def test_wrong_usage_is_a_sentence_and_leaves_nothing(
    pack, tmp_path, capsys, wrong, code, sentence
):
    out = tmp_path / "run"
    before = open_pack(pack).sha256
    assert main(["train", "distil", str(pack), "--out", str(out), *QUICK, *wrong]) == code
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said
    assert not out.exists() or not list(out.iterdir())
    assert open_pack(pack).sha256 == before


def test_a_missing_pack_and_wrong_folders_are_sentences(pack, tmp_path, capsys):
    out = ["--out", str(tmp_path / "run")]
    assert main(["train", "distil", str(tmp_path), *out]) == 2
    assert "holds no packed pictures: make them with `python -m sge_viz train" in (
        capsys.readouterr().err
    )
    assert main(["train", "pack", str(tmp_path / "missing"), "--out", str(pack)]) == 2
    assert "missing is not a folder" in capsys.readouterr().err
    assert len(open_pack(pack)) == 16
    assert main(["train", "supervised", str(tmp_path / "missing"), *out]) == 2
    assert "missing is not a folder" in capsys.readouterr().err
    flat = pack.parent / "wild"
    assert main(["train", "supervised", str(flat), *out, *QUICK]) == 2
    assert "wild has no class folders" in capsys.readouterr().err
    (tmp_path / "classes" / "one").mkdir(parents=True)
    shutil.copy(ASSETS / "cat.jpg", tmp_path / "classes" / "one")
    assert main(["train", "supervised", str(tmp_path / "classes"), *out, *QUICK]) == 2
    assert "has one class folder" in capsys.readouterr().err
    for epochs in ("inf", "nan", "0"):
        command = ["train", "supervised", str(tmp_path / "classes"), *out, "--epochs", epochs]
        assert main(command) == 2
        assert f"--epochs {float(epochs)}: give a number" in capsys.readouterr().err


def test_pictures_that_nobody_can_read_teach_nothing(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / "junk" / name).mkdir(parents=True)
        (tmp_path / "junk" / name / "x.jpg").write_bytes(b"\xff\xd8\xff")
    out = tmp_path / "run"
    command = ["train", "supervised", str(tmp_path / "junk"), "--out", str(out), *QUICK]
    assert main([*command, "--workers", "0"]) == 2
    assert "junk cannot be read" in capsys.readouterr().err
    assert not (out / "weights.safetensors").exists()


def test_a_missing_compiler_is_said_before_anything_begins(pack, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    options = [word for word in QUICK if word != "--no-compile"]
    assert main(["train", "distil", str(pack), "--out", str(tmp_path), *options]) == 2
    assert "no C++ compiler (no-such-compiler) here" in capsys.readouterr().err


def test_what_cannot_be_measured_is_said_before_the_work_begins(tmp_path, capsys, monkeypatch):
    weights = tmp_path / "weights.safetensors"
    release(sge_resnet18(num_classes=7).state_dict(), weights, {})
    (tmp_path / "im" / "3").mkdir(parents=True)
    shutil.copy(ASSETS / "cat.jpg", tmp_path / "im" / "3")
    monkeypatch.setattr("sge_viz.statistics.evaluate", None)  # which would be called otherwise
    good = ["--accuracy", f"good={tmp_path / 'im'}", "--json", str(tmp_path / "out.json")]
    for wrong, sentence in (
        (["--layers-on", str(tmp_path / "im")], "There is no layer 'layer3.5'"),
        (["--pets", str(tmp_path / "im")], "--pets needs ImageNet's 1,000 classes"),
        (["--accuracy", f"bad={tmp_path}"], "name every class folder by its WordNet id"),
    ):
        assert main(["train", "measure", str(weights), *good, *wrong]) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("means", ["cat", "=1-2", "cat=1", "cat=a-b", "cat=5-4", "cat=0-1000"])
def test_a_folder_that_means_nothing_is_a_sentence(means, tmp_path, capsys):
    command = ["train", "pack", str(ASSETS), "--out", str(tmp_path / "pack"), "--means", means]
    try:
        code = main(command)
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    said = capsys.readouterr().err
    assert "write it as cat=281-285" in said or "they go from 0 to 999" in said
    assert not (tmp_path / "pack").exists()


def test_a_run_with_other_settings_is_refused_and_kept(pack, tmp_path, capsys):
    command = ["train", "distil", str(pack), "--out", str(tmp_path), *QUICK, "--images", "4"]
    assert main(command) == 0
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    capsys.readouterr()
    assert main([*command, "--seed", "5"]) == 2
    assert "begun with other settings (seed 5 instead of 0)" in capsys.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
