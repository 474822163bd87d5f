"""`python -m sge_viz`: its frame, and `checkpoints list | fetch | verify | convert`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_files import save, save_legacy
from safetensors.torch import save_file

from sge_viz import __version__, resnet
from sge_viz.checkpoints import Catalogue, load_model
from sge_viz.checkpoints.files import sha256_of
from sge_viz.cli import main

ROOT = Path(__file__).resolve().parents[1]
pytest_plugins = ["checkpoint_fixtures"]
pytestmark = pytest.mark.usefixtures("folder")
BUNDLED = Catalogue.DEFAULT.value


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(3)
    return resnet.sge_resnet18(num_classes=5, groups=16).state_dict()


@pytest.fixture
def shell(capsys):
    """Run a command: exit code, stdout, stderr."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


# --- the frame -----------------------------------------------------------------------------------


def test_help_names_the_commands_with_examples(shell):
    for arguments, words in (
        (["--help"], ["checkpoints", "examples:", "exit codes"]),
        (["checkpoints", "--help"], ["list", "fetch", "verify", "convert", "examples:", "--url"]),
        (["checkpoints", "fetch", "--help"], ["NAME", "--sha256", "--force"]),
        (["checkpoints", "convert", "-h"], ["PATH", "--out", "--half"]),
    ):
        code, out, err = shell(*arguments)
        assert code == 0 and not err and all(word in out for word in words)


def test_version(shell):
    assert shell("--version") == (0, f"sge-viz {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["checkpoints"],
        ["checkpoints", "fetch"],
        ["checkpoints", "verify", "a", "--sha256", "12"],
        ["checkpoints", "list", "--colour"],
    ],
)
def test_wrong_usage_is_2(arguments, shell):
    code, out, err = shell(*arguments)
    assert code == 2 and not out and "usage: python -m sge_viz" in err


@pytest.mark.parametrize("arguments", [["--help"], ["checkpoints", "--help"], ["checkpoints", "x"]])
def test_help_loads_nothing_slow(arguments):
    program = (
        "import sys; from sge_viz.cli import main; main(sys.argv[1:]);"
        "assert not {'torch', 'numpy', 'gradio', 'matplotlib'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_module_hands_its_exit_code_to_the_shell():
    command = [sys.executable, "-m", "sge_viz", "checkpoints", "nonsense"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "nonsense" in done.stderr


# --- list ----------------------------------------------------------------------------------------


def test_list(shell, folder, state):
    save_file(state, folder / "mine.safetensors", {"title": "Parts of birds"})
    (folder / "broken.pth").write_text("<html>")
    code, out, err = shell("checkpoints", "list")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert code == 0 and not err
    assert list(lines) == [entry.value.name for entry in Catalogue] + [
        "broken.pth",
        "mine.safetensors",
    ]
    assert "not here" in lines["sge_resnet101"] and "78.798% top-1" in lines["sge_resnet101"]
    assert "not here" not in lines[BUNDLED.name] and "(default)" in lines[BUNDLED.name]
    assert "Parts of birds" in lines["mine.safetensors"]


def test_list_as_json(shell, folder, state):
    save(state, folder / "mine.pth")
    code, out, _ = shell("checkpoints", "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0 and rows["sge_resnet50"]["top5"] == 93.664
    assert rows["sge_resnet50"]["present"] is False and rows["sge_resnet50"]["path"] is None
    assert rows["mine.pth"]["path"] == str(folder / "mine.pth")
    assert [name for name, row in rows.items() if row["default"]] == [BUNDLED.name]
    assert rows[BUNDLED.name]["sha256"] == BUNDLED.sha256


# --- verify --------------------------------------------------------------------------------------


def test_verify(shell, folder, state):
    path = save_legacy({"state_dict": state}, folder / "mine.pth")
    code, out, err = shell("checkpoints", "verify", path)
    assert code == 0 and not err and str(path) in out
    assert "SGE-ResNet18 (16 groups, 5 classes)" in out and sha256_of(path) in out
    assert shell("checkpoints", "verify", "mine.pth")[0] == 0


def test_verify_as_json(shell):
    code, out, _ = shell("checkpoints", "verify", BUNDLED.name, "--json")
    report = json.loads(out)
    assert code == 0 and report["ok"] is True and report["format"] == "safetensors"
    assert (report["architecture"], report["groups"], report["classes"]) == (
        "sge_resnet50",
        64,
        1000,
    )
    assert report["sha256"] == BUNDLED.sha256 and report["published"] is False


@pytest.mark.parametrize("damage", ["page", "hash", "missing", "absent"])
def test_verify_fails_with_a_sentence(damage, shell, folder, state):
    (folder / "page.pth").write_text("<!doctype html>")
    save(state, folder / "hash.pth")
    arguments = {
        "page": (["page.pth"], "web page"),
        "hash": (["hash.pth", "--sha256", "0" * 64], "wrong hash"),
        "missing": (["no/such/file.pth"], "no such file"),
        "absent": (["sge_resnet50"], "checkpoints fetch sge_resnet50`"),
    }
    (given, words) = arguments[damage]
    code, out, err = shell("checkpoints", "verify", *given)
    assert code == 1 and not out and err.startswith("sge-viz: ") and words in err
    assert err.count("\n") == 1
    code, out, err = shell("checkpoints", "verify", *given, "--json")
    report = json.loads(out)
    assert code == 1 and report["ok"] is False and words in report["error"] and words in err


# --- fetch and convert (tests/test_fetch.py and tests/test_checkpoints.py test what they do) ------


def test_fetch_of_what_is_there(shell):
    code, out, _ = shell("checkpoints", "fetch", BUNDLED.name)
    assert code == 0 and "was there already" in out and BUNDLED.sha256 in out


def test_fetch_of_an_unknown_name(shell):
    code, out, err = shell("checkpoints", "fetch", "sge_resnet18")
    assert code == 2 and not out and "sge_resnet50, sge_resnet101" in err


def test_fetch_that_fails(shell, folder):
    code, out, err = shell("checkpoints", "fetch", "resnet50", "--url", "http://127.0.0.1:9/a")
    assert code == 1 and not out and "The connection to 127.0.0.1 failed" in err
    assert list(folder.iterdir()) == []


def test_convert(shell, folder, state):
    save_legacy({"state_dict": state}, folder / "mine.pth.tar")
    code, out, err = shell("checkpoints", "convert", "mine.pth.tar")
    assert (code, out, err) == (0, f"{folder / 'mine.safetensors'}\n", "")
    loaded = load_model(folder / "mine.safetensors", "cpu").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    code, out, err = shell("checkpoints", "convert", "mine.pth.tar", "--half")
    assert code == 1 and not out and "there already" in err
    code, _, _ = shell("checkpoints", "convert", "mine.pth.tar", "--half", "--force")
    size = (folder / "mine.safetensors").stat().st_size
    assert code == 0 and size < 0.51 * (folder / "mine.pth.tar").stat().st_size
    code, out, _ = shell(
        "checkpoints", "convert", "mine.pth.tar", "--out", folder / "b.safetensors"
    )
    assert code == 0 and out == f"{folder / 'b.safetensors'}\n"
