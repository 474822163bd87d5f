"""Catalogue, loading, the menu, and which file counts as published."""

import dataclasses
import json
import shutil
import socket
import warnings
from pathlib import Path

import pytest
import torch
import torchvision
from checkpoint_files import FORMS, record, same, save, save_legacy, sentence, written
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sge_viz import resnet
from sge_viz.checkpoints import (
    Card,
    Catalogue,
    available,
    directory,
    find,
    load_model,
    locate,
)
from sge_viz.checkpoints.architecture import identify
from sge_viz.checkpoints.files import sha256_of
from sge_viz.training.settings import Settings

pytest_plugins = ["checkpoint_fixtures"]
pytestmark = pytest.mark.usefixtures("folder")
BUNDLED = Catalogue.DEFAULT.value
ALWAYS_THERE = [BUNDLED.name, "sge_resnet50_stopgap"]
OWN = Path(__file__).resolve().parents[1] / "checkpoints"


# --- the catalogue -------------------------------------------------------------------------------


def test_catalogue_states_the_published_figures():
    figures = {
        "sge_resnet50": (77.584, 93.664, "13HPCjrEle6aFbiCo8Afkr2jJssdNwdRn"),
        "sge_resnet101": (78.798, 94.368, "1ihu0NVvVJZEv0zj49izapn4V0FhwxCh6"),
        "resnet50": (76.384, 92.908, "1ijUOmyDCSQTU9JaNwOu4_fs1cBXHnHPF"),
        "resnet101": (78.2, 93.906, "1125qwL4psGqJWrPDtSoxfBRLPMAnRzx4"),
    }
    for name, (top1, top5, drive_id) in figures.items():
        card = find(name)
        assert (card.top1, card.top5, card.drive_id) == (top1, top5, drive_id)
        assert card.published and card.architecture == name
        assert drive_id in card.url and "1905.09646" in card.paper and "not stated" in card.licence
        assert card.groups == (64 if name.startswith("sge") else None) and card.sha256 is None


def test_catalogue_is_an_enum_of_frozen_records():
    assert all(isinstance(entry.value, Card) for entry in Catalogue)
    assert len({entry.value.name for entry in Catalogue}) == len(Catalogue) == 6
    with pytest.raises(dataclasses.FrozenInstanceError):
        BUNDLED.published = True
    assert not BUNDLED.published and BUNDLED.top1 is None and "not the paper's" in BUNDLED.notes
    assert find("sge_resnet49") is None


# --- loading -------------------------------------------------------------------------------------


def test_default_is_the_bundled_file_and_needs_no_network(monkeypatch):
    def no_network(*_):
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    model = load_model(device="cpu")
    assert model.card == BUNDLED and model.card.sha256 == sha256_of(OWN / BUNDLED.file)
    assert not model.training and sum(p.numel() for p in model.parameters()) == 25_559_080
    stored = load_file(OWN / BUNDLED.file)
    assert same(model, {k: v.float() if v.is_floating_point() else v for k, v in stored.items()})
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_bundled_file_carries_its_card():
    with safe_open(OWN / BUNDLED.file, "numpy") as file:
        metadata = file.metadata()
    assert metadata["title"] == BUNDLED.title and metadata["published"] == "false"
    assert Settings.from_text(metadata["recipe"]).architecture == BUNDLED.architecture
    quality, data = json.loads(metadata["quality"]), json.loads(metadata["data"])
    assert set(quality["accuracy"]) == {"imagenette", "imagewoof"}
    assert quality["pets"]["pictures"] == 2000 and set(quality["layers"]) == {
        "layer3.5",
        "layer4.2",
    }
    assert sum(data.values()) > 50_000 and metadata["commit"]


@pytest.mark.parametrize("form", FORMS)
def test_every_format_loads_the_same_tensors(form, network, tmp_path):
    FORMS[form](network, tmp_path / "weights.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load_model(tmp_path / "weights.pth", "cpu")
    assert same(model, network.state_dict()) and not model.training
    assert isinstance(model, resnet.SGEResNet) and model.layer1[0].sge.groups == 8
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("form", "name"), [("published", "a.safetensors"), ("safetensors", "a.pth"), ("plain", "a")]
)
def test_the_name_says_nothing(form, name, network, tmp_path):
    FORMS[form](network, tmp_path / name)
    assert same(load_model(tmp_path / name, "cpu"), network.state_dict())


def test_loading_does_not_share_memory_with_the_file(state, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(state, path)
    model = load_model(path, "cpu")
    path.write_bytes(b"\0" * path.stat().st_size)
    assert same(model, state)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
@pytest.mark.parametrize("groups", [None, 1, 32, 64])
def test_tensors_alone_tell_the_network(depth, groups):
    with torch.device("meta"):
        if groups is None:
            model = getattr(torchvision.models, f"resnet{depth}")(num_classes=11)
        else:
            model = getattr(resnet, f"sge_resnet{depth}")(num_classes=11, groups=groups)
    found = identify(model.state_dict(), "x.pth")
    assert (found.depth, found.groups, found.classes) == (depth, groups, 11)
    assert found.build().state_dict().keys() == model.state_dict().keys()


def test_metadata_does_not_overrule_the_tensors(state, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(state, path, {"architecture": "sge_resnet152", "groups": "64", "classes": "1000"})
    card = load_model(path, "cpu").card
    assert (card.architecture, card.groups, card.classes) == ("sge_resnet18", 8, 7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_load_to_float32(dtype, state, tmp_path):
    stored = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    model = load_model(save(stored, tmp_path / "a.pth"), "cpu")
    assert same(model, {k: v.float() if v.is_floating_point() else v for k, v in stored.items()})


def test_batch_counters_may_be_missing_all_together(state, tmp_path):
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    model = load_model(save_legacy(old, tmp_path / "old.pth"), "cpu")
    assert all(torch.equal(model.state_dict()[name], old[name]) for name in old)
    del state["bn1.num_batches_tracked"]
    assert "1 tensor missing: bn1.num_batches_tracked" in sentence(save(state, tmp_path / "x.pth"))


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), None])
def test_device(device, state, tmp_path):
    model = load_model(save(state, tmp_path / "a.pth"), device)
    expected = "cuda" if device is None and torch.cuda.is_available() else "cpu"
    assert next(model.parameters()).device.type == expected


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta", ""])
def test_device_that_cannot_be_used(device):
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used here"):
        load_model(device=device)


# --- which file a source means -------------------------------------------------------------------


def test_sources(folder, state):
    mine = save(state, folder / "mine.pth")
    assert locate(None) == locate(BUNDLED.name) == locate(Catalogue.DEFAULT)
    assert locate("mine.pth") == locate(mine) == locate(str(mine)) == (mine, None)
    assert load_model("mine.pth", "cpu").card.name == "mine.pth"


def test_absent_entry_names_the_command():
    text = sentence("sge_resnet101")
    assert "sge_resnet101.pth" in text
    assert "`python -m sge_viz checkpoints fetch sge_resnet101`" in text


@pytest.mark.parametrize("source", ["sge_resnet5", "", "no/such.pth", "x" * 5000, "a\0b"])
def test_unknown_source(source):
    assert BUNDLED.name in sentence(source)


def test_bundled_file_of_the_directory_comes_first(folder, state):
    shutil.copy(OWN / BUNDLED.file, folder)
    assert locate(None)[0] == folder / BUNDLED.file
    assert directory() == folder


# --- hashes, and what counts as published --------------------------------------------------------


def test_a_file_of_the_right_name_is_not_the_published_one(folder, resnet50_file):
    shutil.copy(resnet50_file, folder)
    card = load_model("resnet50", "cpu").card
    assert not card.published and card.top1 is None and card.top5 is None
    assert "not confirmed" in card.title and "fetch resnet50" in card.notes
    assert card.sha256 == sha256_of(resnet50_file)


def test_a_recorded_file_is_the_published_one_wherever_it_lies(folder, resnet50_file):
    shutil.copy(resnet50_file, folder)
    record(folder, "resnet50", resnet50_file)
    for source in ("resnet50", folder / "resnet50.pth", resnet50_file):
        card = load_model(source, "cpu").card
        assert card.published and card.top1 == 76.384 and card.name == "resnet50"
        assert "example.org" in card.notes and card.sha256 == sha256_of(resnet50_file)


def test_a_file_that_changed_since_it_was_fetched(folder, resnet50_file):
    record(folder, "resnet50", resnet50_file)
    content = bytearray(resnet50_file.read_bytes())
    content[-1000] ^= 1
    written(folder / "resnet50.pth", bytes(content))
    text = sentence("resnet50")
    assert "resnet50.pth has the wrong hash" in text and sha256_of(resnet50_file) in text
    assert sentence(folder / "resnet50.pth") == text


def test_the_bundled_file_must_have_its_hash(folder):
    content = bytearray((OWN / BUNDLED.file).read_bytes())
    content[-1] ^= 1
    written(folder / BUNDLED.file, bytes(content))
    assert f"{BUNDLED.file} has the wrong hash" in sentence(None)


def test_an_entry_must_hold_its_network(folder, state):
    save(state, folder / "sge_resnet50.pth")
    assert "sge_resnet50.pth holds SGE-ResNet18 (8 groups, 7 classes)" in sentence("sge_resnet50")


def test_damaged_records_do_not_touch_the_bundled_weights(folder, resnet50_file):
    (folder / "hashes.json").write_text("{")
    assert load_model(device="cpu").card == BUNDLED
    assert "hashes.json" in sentence(resnet50_file)


def test_what_a_dropped_in_file_says_of_itself(folder, state):
    claims = {"title": "Mine\n\x00", "source": "my desk", "licence": "CC0", "published": "false"}
    save_file(state, folder / "mine.safetensors", claims | {"top1": "99.9", "sha256": "0" * 64})
    card = load_model("mine.safetensors", "cpu").card
    assert (card.source, card.licence, card.top1, card.published) == ("my desk", "CC0", None, False)
    assert card.name == card.file == "mine.safetensors" and card.title.isprintable()
    assert card.sha256 == sha256_of(folder / "mine.safetensors")
    save_file(state, folder / "liar.safetensors", {"title": "The real ones", "published": "true"})
    liar = load_model("liar.safetensors", "cpu").card
    assert not liar.published and "not confirmed" in liar.title


# --- the menu ------------------------------------------------------------------------------------


def test_menu(folder, state, resnet50_file):
    assert [entry.name for entry in available()] == ALWAYS_THERE
    shutil.copy(resnet50_file, folder)
    save_file(state, folder / "b.safetensors", {"title": "Parts of birds"})
    save(state, folder / "a.PT")
    (folder / "broken.safetensors").write_bytes(b"\xff" * 20)
    (folder / "page.pth").write_text("<html>")
    (folder / "folder.pth").mkdir()
    (folder / "gone.pth").symlink_to(folder / "nowhere")
    for other in (
        "sge_resnet50.pth.1234.part",
        "x.part",
        ".hidden.pth",
        "notes.txt",
        "hashes.json",
    ):
        (folder / other).write_text("{}")
    entries = available()
    assert [entry.name for entry in entries] == [
        "resnet50",
        *ALWAYS_THERE,
        "a.PT",
        "b.safetensors",
        "broken.safetensors",
        "page.pth",
    ]
    assert entries[4].title == "b.safetensors (Parts of birds)" and entries[3].title == "a.PT"
    assert all(entry.path.is_file() for entry in entries)
    for entry in entries[3:5]:
        assert same(load_model(entry.path, "cpu"), state)


def test_menu_without_the_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("SGE_VIZ_CHECKPOINTS", str(tmp_path / "nowhere"))
    assert [entry.name for entry in available()] == ALWAYS_THERE
    monkeypatch.delenv("SGE_VIZ_CHECKPOINTS")
    assert directory() == OWN
