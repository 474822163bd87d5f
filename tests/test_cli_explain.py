"""`python -m sge_viz explain` and `serve`, run as commands."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests

from sge_viz.cli import main

ROOT = Path(__file__).resolve().parents[1]
CAT, DOG = str(ROOT / "assets" / "cat.jpg"), str(ROOT / "assets" / "dog.jpg")


def test_pictures_become_figures_arrays_and_a_manifest(tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    arguments = ["--groups", "3,63", "--format", "svg", "--format", "pdf", "--out", str(out)]
    assert main(["explain", CAT, DOG, *arguments]) == 0
    for name in ("cat", "dog"):
        for rest in (".npz", "_groups.png", "_group3.png", "_group63.png", "_histogram.svg"):
            assert (out / f"{name}_layer3.5{rest}").stat().st_size > 1000
    assert (out / "figure2_layer3.5.pdf").read_bytes().startswith(b"%PDF")
    manifest = json.loads((out / "manifest.json").read_text())
    assert set(manifest["pictures"]) == {"cat", "dog"}
    assert not manifest["refused"]
    with np.load(out / "cat_layer3.5.npz") as arrays:
        assert arrays["before"].shape == (64, 14, 14)
    assert "2 explained, 0 refused" in capsys.readouterr().out
    assert not list(out.glob("*.part"))


def test_a_wrong_picture_is_named_and_the_rest_is_done(tmp_path, capsys):
    bad = tmp_path / "broken.png"
    bad.write_bytes(b"nothing")
    code = main(["explain", str(bad), CAT, str(tmp_path / "gone.png"), "--out", str(tmp_path)])
    assert code == 1
    said = capsys.readouterr()
    assert "broken.png" in said.err
    assert "gone.png" in said.err
    assert "1 explained, 2 refused" in said.out
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert list(manifest["pictures"]) == ["cat"]
    assert set(manifest["refused"]) == {"broken.png", "gone.png"}


def test_pictures_of_one_name_keep_apart(tmp_path):
    twin = tmp_path / "cat.jpg"
    twin.write_bytes(Path(DOG).read_bytes())
    assert main(["explain", CAT, str(twin), "--out", str(tmp_path / "out")]) == 0
    names = {path.name for path in (tmp_path / "out").glob("*.npz")}
    assert names == {"cat_layer3.5.npz", "cat-2_layer3.5.npz"}


@pytest.mark.parametrize(
    ("arguments", "sentence", "code"),
    [
        (["--groups", "64"], "no group 64", 2),
        (["--layer", "layer7"], "no layer 'layer7'", 2),
        (["--size", "225"], "multiple of 32", 2),
        (["--colour-map", "jet"], "jet", 2),
        (["--checkpoint", "nobody"], "nobody", 1),
        (["--device", "toaster"], "toaster", 2),
        (["--out", "/proc/nothing"], "cannot be written", 1),
    ],
)
def test_wrong_settings_get_a_sentence_and_no_traceback(
    tmp_path, capsys, arguments, sentence, code
):
    assert main(["explain", CAT, "--out", str(tmp_path), *arguments]) == code
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said


def test_layers_sizes_and_scales_can_be_chosen(tmp_path):
    arguments = ["--layer", "layer4.2", "--layer", "layer1.0", "--size", "320", "--scale", "own"]
    assert main(["explain", CAT, *arguments, "--out", str(tmp_path)]) == 0
    with np.load(tmp_path / "cat_layer4.2.npz") as arrays:
        assert arrays["before"].shape == (64, 10, 15)
    assert (tmp_path / "figure2_layer1.0.png").exists()


def test_help_answers_at_once_and_shows_examples():
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "sge_viz", "explain", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert time.perf_counter() - started < 2
    assert "examples:" in done.stdout
    assert "--layer" in done.stdout


@pytest.mark.parametrize("port", ["0", "65536", "99999", "-1", "http"])
def test_serve_refuses_what_is_no_port(port, capsys):
    assert main(["serve", "--port", port]) == 2
    assert "give a number from 1 to 65535" in capsys.readouterr().err


def test_serve_answers_on_the_port_asked_for():
    command = [sys.executable, "-m", "sge_viz", "serve", "--port", "7931"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + 90
            while True:
                try:
                    answer = requests.get("http://127.0.0.1:7931/", timeout=5)
                    break
                except requests.ConnectionError:
                    assert time.monotonic() < deadline, "the page did not come up"
                    assert server.poll() is None
                    time.sleep(0.5)
            assert "SGE-Viz" in answer.text
        finally:
            server.terminate()
