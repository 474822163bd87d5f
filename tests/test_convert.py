"""Conversion to safetensors: every bit kept, the card written, whole or not at all."""

import shutil
from pathlib import Path

import pytest
import torch
from checkpoint_files import record, same, save, save_legacy, training_checkpoint, written
from safetensors import safe_open
from safetensors.torch import load_file

from sge_viz.checkpoints import BadCheckpoint, convert, inspect, load_model
from sge_viz.checkpoints.files import sha256_of

pytest_plugins = ["checkpoint_fixtures"]
pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize("from_gpu", [False, True])
def test_conversion_keeps_every_bit_and_writes_the_card(from_gpu, network, tmp_path):
    source = save_legacy(training_checkpoint(network), tmp_path / "a.pth.tar", from_gpu=from_gpu)
    out = convert(source)
    assert out == tmp_path / "a.safetensors"
    stored = load_file(out)
    assert stored.keys() == network.state_dict().keys()
    assert all(torch.equal(stored[k], v) for k, v in network.state_dict().items())
    assert same(load_model(out, "cpu"), load_model(source, "cpu").state_dict())
    with safe_open(out, "numpy") as file:
        metadata = file.metadata()
    assert metadata["architecture"] == "sge_resnet18" and metadata["groups"] == "8"
    assert metadata["original_sha256"] == sha256_of(source) and metadata["classes"] == "7"
    assert metadata["original_file"] == "a.pth.tar" and metadata["published"] == "false"
    assert str(tmp_path) not in str(metadata)
    again = convert(source, tmp_path / "again.safetensors")
    assert again.read_bytes() == out.read_bytes()


def test_conversion_to_half_precision(network, state, tmp_path):
    source = save(state, tmp_path / "a.pth")
    out = convert(source, half=True)
    halved = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    assert all(torch.equal(load_file(out)[name], tensor) for name, tensor in halved.items())
    assert out.stat().st_size < 0.51 * source.stat().st_size
    assert same(load_model(out, "cpu"), {k: v.to(state[k].dtype) for k, v in halved.items()})


def test_half_precision_that_cannot_hold_a_number(state, tmp_path):
    state["bn1.running_var"][5] = 1e6
    with pytest.raises(BadCheckpoint, match=r"a\.pth in half precision .* in bn1.running_var"):
        convert(save(state, tmp_path / "a.pth"), half=True)
    assert [path.name for path in tmp_path.glob("a.*")] == ["a.pth"]


def test_conversion_of_the_published_file_counts_as_published(folder, resnet50_file):
    shutil.copy(resnet50_file, folder)
    record(folder, "resnet50", resnet50_file)
    out = convert("resnet50")
    card = load_model(out, "cpu").card
    assert card.published and card.file == "resnet50.safetensors" and "Converted" in card.notes
    with safe_open(out, "numpy") as file:
        assert file.metadata()["top1"] == "76.384" and file.metadata()["published"] == "true"
    content = bytearray(out.read_bytes())
    content[-1] ^= 1
    other = load_model(written(folder / "other.safetensors", bytes(content)), "cpu").card
    assert not other.published and "not confirmed" in other.title


def test_conversion_never_replaces_a_file_unasked(state, tmp_path):
    source = save(state, tmp_path / "a.pth")
    out = written(tmp_path / "a.safetensors", b"mine")
    with pytest.raises(BadCheckpoint, match=r"a\.safetensors is there already"):
        convert(source)
    assert out.read_bytes() == b"mine"
    assert same(load_model(convert(source, force=True), "cpu"), state)
    for target in (source, out):
        with pytest.raises(BadCheckpoint, match="there already"):
            convert(target, target, force=True)
    with pytest.raises(BadCheckpoint, match="is a directory"):
        convert(source, tmp_path, force=True)


def test_conversion_is_whole_or_not_at_all(state, tmp_path, monkeypatch):
    source = save(state, tmp_path / "a.pth")

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BadCheckpoint, match="The disk is full"):
        convert(source)
    assert [path.name for path in tmp_path.glob("**/*") if path.is_file()] == ["a.pth"]


def test_conversion_into_a_directory_that_is_not_there(state, tmp_path):
    with pytest.raises(BadCheckpoint, match=r"b\.safetensors cannot be written"):
        convert(save(state, tmp_path / "a.pth"), tmp_path / "no" / "b.safetensors")


def test_inspect_tells_all_about_a_file(network, tmp_path):
    found = inspect(save_legacy(training_checkpoint(network), tmp_path / "a.pth"))
    assert str(found.architecture) == "SGE-ResNet18 (8 groups, 7 classes)"
    assert found.kind == "torch.save (legacy)" and found.sha256 == sha256_of(found.path)
    assert len(found.tensors) == len(network.state_dict())
