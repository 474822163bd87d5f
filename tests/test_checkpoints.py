"""Catalogue, loading, verification, conversion: what a user gets, and which sentence otherwise."""

import contextlib
import dataclasses
import decimal
import io
import json
import os
import pickle
import re
import shutil
import socket
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torchvision
from checkpoint_files import save, save_legacy, train_a_little, training_checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sge_viz import resnet
from sge_viz.checkpoints import (
    BadCheckpoint,
    Card,
    Catalogue,
    available,
    convert,
    directory,
    find,
    inspect,
    load_model,
    locate,
)
from sge_viz.checkpoints.architecture import check_fit, identify
from sge_viz.checkpoints.contents import read
from sge_viz.checkpoints.files import sha256_of

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:Validating")
BUNDLED = Catalogue.DEFAULT.value
OWN = Path(__file__).resolve().parents[1] / "checkpoints"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty checkpoints directory."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    monkeypatch.setenv("SGE_VIZ_CHECKPOINTS", str(folder))
    return folder


@pytest.fixture(scope="module")
def network():
    """A small SGE-ResNet18 with 8 groups and 7 classes, every tensor with values of its own."""
    torch.manual_seed(1)
    network = resnet.sge_resnet18(num_classes=7, groups=8).eval()
    train_a_little(network)
    return network


@pytest.fixture
def state(network):
    return OrderedDict((name, tensor.clone()) for name, tensor in network.state_dict().items())


def same(model, state):
    loaded = model.state_dict()
    return loaded.keys() == state.keys() and all(
        torch.equal(loaded[name], tensor) for name, tensor in state.items()
    )


def sentence(source, **options):
    """Return the sentence that loading answers with, which must be fit for a person."""
    with pytest.raises(BadCheckpoint) as refused:
        load_model(source, "cpu", **options)
    text = str(refused.value)
    assert text.endswith((".", "`.")) and "\n" not in text and len(text) < 1200
    assert not re.search(r'Traceback|File "|site-packages|0x[0-9a-f]{6}|\.py\b', text)
    return text


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
    assert len({entry.value.name for entry in Catalogue}) == len(Catalogue) == 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        BUNDLED.published = True
    assert not BUNDLED.published and BUNDLED.top1 is None and "stop-gap" in BUNDLED.notes
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
    assert metadata["name"] == BUNDLED.name and metadata["published"] == "false"
    assert "stop-gap" in metadata["title"] and "71.1% at 224 px" in metadata["measured"]


FORMS = {
    "published": lambda model, path: save_legacy(training_checkpoint(model), path),
    "published from a GPU": lambda model, path: save_legacy(
        training_checkpoint(model), path, from_gpu=True
    ),
    "zip from a GPU": lambda model, path: save(training_checkpoint(model), path, from_gpu=True),
    "no prefix": lambda model, path: save_legacy({"state_dict": model.state_dict()}, path),
    "other wrapper": lambda model, path: save({"model": model.state_dict(), "epoch": 3}, path),
    "plain": lambda model, path: save(model.state_dict(), path),
    "plain legacy": lambda model, path: save_legacy(model.state_dict(), path),
    "plain prefixed": lambda model, path: save(
        {f"module.{k}": v for k, v in model.state_dict().items()}, path
    ),
    "parameters": lambda model, path: save(
        dict(model.named_parameters()) | dict(model.named_buffers()), path
    ),
    "safetensors": lambda model, path: save_file(model.state_dict(), path),
}


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
    assert locate(None) == locate("sge_resnet50_stopgap") == locate(Catalogue.DEFAULT)
    assert locate("mine.pth") == locate(mine) == locate(str(mine)) == (mine, None)
    assert load_model("mine.pth", "cpu").card.name == "mine.pth"


def test_absent_entry_names_the_command():
    text = sentence("sge_resnet101")
    assert "sge_resnet101.pth" in text
    assert "`python -m sge_viz checkpoints fetch sge_resnet101`" in text


@pytest.mark.parametrize("source", ["sge_resnet5", "", "no/such.pth", "x" * 5000, "a\0b"])
def test_unknown_source(source):
    assert "sge_resnet50_stopgap" in sentence(source)


def test_bundled_file_of_the_directory_comes_first(folder, state):
    shutil.copy(OWN / BUNDLED.file, folder)
    assert locate(None)[0] == folder / BUNDLED.file
    assert directory() == folder


# --- what is refused, and how --------------------------------------------------------------------


def written(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html>\n<html><title>Quota exceeded</title></html>", "web page"),
        (b"\xef\xbb\xbf<html></html>", "web page"),
        (b'{"error": {"code": 403}}', "text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "git lfs pull"),
        (b"\x1f\x8b\x08\x00rest", "gzip archive"),
        (os.urandom(1000), "no checkpoint"),
        (pickle.dumps({"a": 1}, 2), "Python pickle"),
        (pickle.dumps({"a": 1}, 4), "protocol"),
    ],
)
def test_other_files_have_sentences_of_their_own(content, words, tmp_path):
    text = sentence(written(tmp_path / "weights.pth", content))
    assert words in text and text.startswith("weights.pth")


def test_directory_and_archives(tmp_path):
    (tmp_path / "folder.pth").mkdir()
    assert "is a directory" in sentence(tmp_path / "folder.pth")
    with zipfile.ZipFile(tmp_path / "word.pth", "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    assert "ZIP archive that holds no checkpoint" in sentence(tmp_path / "word.pth")
    shutil.make_archive(str(tmp_path / "real"), "tar", tmp_path, "word.pth")
    assert "tar archive" in sentence(tmp_path / "real.tar")


class Forbidden:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_forbidden_object_is_refused_by_name_and_never_run(protocol, form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for thing, name in ((Forbidden(), r"(posix|nt)\.system"), (decimal.Decimal(1), "decimal.Deci")):
        content = {"state_dict": {"fc.weight": torch.ones(2, 2)}, "extra": thing}
        path = tmp_path / "evil.pth"
        if form == "pickle":
            path.write_bytes(pickle.dumps({"extra": thing}, protocol))
        else:
            save(
                content,
                path,
                pickle_protocol=protocol,
                _use_new_zipfile_serialization=form == "zip",
            )
        assert re.search(rf"evil\.pth was refused .* {name}", sentence(path))
    assert not (tmp_path / "pwned").exists()


def test_a_whole_module_is_refused_by_name(network, tmp_path):
    text = sentence(save(torchvision.models.resnet18(num_classes=2), tmp_path / "module.pth"))
    assert "torchvision.models.resnet.ResNet" in text and "state_dict()" in text


def test_refusal_holds_against_the_environment_that_turns_it_off(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.chdir(tmp_path)
    sentence(save({"a": torch.ones(1), "extra": Forbidden()}, tmp_path / "evil.pth"))
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("form", ["published", "plain", "safetensors"])
@pytest.mark.parametrize("kept", [0.0001, 0.5, 0.999999])
def test_truncated(form, kept, network, tmp_path):
    FORMS[form](network, tmp_path / "a.pth")
    whole = (tmp_path / "a.pth").read_bytes()
    short = written(tmp_path / "short.pth", whole[: int(len(whole) * kept)])
    assert "short.pth is truncated or damaged" in sentence(short)


def test_flipped_bit_in_a_zip(state, tmp_path):
    content = bytearray(save(state, tmp_path / "a.pth").read_bytes())
    content[len(content) // 2] ^= 1
    assert "damaged" in sentence(written(tmp_path / "b.pth", bytes(content)))


def small_files():
    content = {"state_dict": {"module.fc.weight": torch.ones(3, 2)}, "acc": torch.tensor(1.0)}
    for legacy in (True, False):
        buffer = io.BytesIO()
        torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
        yield buffer.getvalue()
    yield pickle.dumps({"a": decimal.Decimal(1)}, 4)


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_damage_never_raises_anything_else(tmp_path, data):
    content = bytearray(data.draw(st.sampled_from(list(small_files()))))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = written(tmp_path / "a.pth", bytes(content[: data.draw(st.integers(0, len(content)))]))
    with contextlib.suppress(BadCheckpoint):
        assert set(read(path, "a.pth").tensors)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.ones(2)], "holds a list, not a state dict"),
        ({"epoch": 3, "optimizer": {}}, "holds no weights: its entries are 'epoch', 'optimizer'"),
        ({"state_dict": {}}, "holds no weights"),
        ({"fc.weight": torch.ones(2, 2), "epoch": 3}, "'epoch' that is not a plain tensor: int"),
        ({"fc.weight": torch.ones(2, 2), 7: torch.ones(1)}, "'7'"),
        ({"fc.weight": torch.eye(2).to_sparse()}, "not a plain tensor"),
        ({"fc.weight": torch.ones(2, dtype=torch.cfloat)}, "not a plain tensor"),
        ({"features.0.weight": torch.ones(2, 2)}, "not a ResNet: its tensors are called features"),
    ],
)
def test_content_that_is_no_resnet(content, words, tmp_path):
    assert words in sentence(save_legacy(content, tmp_path / "a.pth"))


# --- strict keys ---------------------------------------------------------------------------------


def test_wrong_keys_are_listed_and_counted(state, tmp_path):
    del state["layer3.1.sge.weight"], state["fc.bias"]
    state["aux.weight"] = torch.ones(1)
    state["layer1.0.conv1.weight"] = torch.ones(64, 64, 1, 1)
    text = sentence(save(state, tmp_path / "a.pth"))
    assert "does not fit SGE-ResNet18 (8 groups, 7 classes)" in text
    assert "2 tensors missing: layer3.1.sge.weight, fc.bias" in text
    assert "1 tensor unexpected: aux.weight" in text
    assert "layer1.0.conv1.weight (64, 64, 1, 1) instead of (64, 64, 3, 3)" in text


def test_another_head_of_the_same_name(state, tmp_path):
    state["fc.bias"] = torch.ones(8)
    assert "fc.bias (8,) instead of (7,)" in sentence(save(state, tmp_path / "a.pth"))


def test_long_lists_are_bounded(state, tmp_path):
    many = {f"extra.{'x' * 500}.{number}": torch.ones(1) for number in range(3000)}
    text = sentence(save(state | many, tmp_path / "a.pth"))
    assert "3000 tensors unexpected" in text and "and 2995 more" in text and len(text) < 1000


@settings(deadline=None, max_examples=20)
@given(st.data())
def test_any_missing_tensor_is_noticed(data):
    with torch.device("meta"):
        whole = resnet.sge_resnet50().state_dict()
    names = data.draw(st.sets(st.sampled_from(list(whole)), min_size=1, max_size=40))
    rest = {name: tensor for name, tensor in whole.items() if name not in names}
    found = identify(rest, "a.pth")
    plural = "s" if len(names) > 1 else ""
    with pytest.raises(BadCheckpoint, match=f": {len(names)} tensor{plural} missing: ") as refused:
        check_fit(rest, found, "a.pth")
    assert any(name in str(refused.value) for name in names)


def test_a_missing_block_is_a_missing_block(state, tmp_path):
    rest = {name: tensor for name, tensor in state.items() if not name.startswith("layer4.1.")}
    assert "missing: layer4.1.conv1.weight" in sentence(save(rest, tmp_path / "a.pth"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_refused_with_their_tensor(value, state, tmp_path):
    state["layer2.1.sge.bias"][0, 3] = value
    assert "infinite numbers in layer2.1.sge.bias" in sentence(save(state, tmp_path / "a.pth"))


def test_numbers_beyond_float32(state, tmp_path):
    state["conv1.weight"] = torch.full((64, 3, 7, 7), 1e300, dtype=torch.float64)
    assert "infinite numbers in conv1.weight" in sentence(save(state, tmp_path / "a.pth"))


def test_integers_are_no_weights(state, tmp_path):
    state["fc.weight"] = torch.ones(7, 512, dtype=torch.int8)
    assert "fc.weight as torch.int8" in sentence(save(state, tmp_path / "a.pth"))


@pytest.mark.parametrize(("groups", "words"), [(48, "48 groups"), (0, "0 groups")])
def test_groups_that_cannot_be(groups, words, state, tmp_path):
    for name in state:
        if ".sge." in name:
            state[name] = torch.ones(1, groups, 1, 1)
    assert words in sentence(save(state, tmp_path / "a.pth"))


def test_blocks_that_disagree_on_their_groups(state, tmp_path):
    state["layer4.1.sge.weight"] = torch.ones(1, 16, 1, 1)
    text = sentence(save(state, tmp_path / "a.pth"))
    assert "layer4.1.sge.weight (1, 16, 1, 1) instead of (1, 8, 1, 1)" in text


# --- hashes, and what counts as published --------------------------------------------------------


def record(folder, name, path, **more):
    entry = {"sha256": sha256_of(path), "source": "https://example.org", "date": "2026-01-02"}
    (folder / "hashes.json").write_text(json.dumps({name: entry | {"converted": []} | more}))


@pytest.fixture(scope="module")
def resnet50_file(tmp_path_factory):
    """A whole ResNet50 in half precision, as if the authors had published it."""
    torch.manual_seed(2)
    state = torchvision.models.resnet50().half().state_dict()
    return save_legacy({"state_dict": state}, tmp_path_factory.mktemp("files") / "resnet50.pth")


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
    assert [entry.name for entry in available()] == [BUNDLED.name]
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
        BUNDLED.name,
        "a.PT",
        "b.safetensors",
        "broken.safetensors",
        "page.pth",
    ]
    assert entries[3].title == "b.safetensors (Parts of birds)" and entries[2].title == "a.PT"
    assert all(entry.path.is_file() for entry in entries)
    for entry in entries[2:4]:
        assert same(load_model(entry.path, "cpu"), state)


def test_menu_without_the_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("SGE_VIZ_CHECKPOINTS", str(tmp_path / "nowhere"))
    assert [entry.name for entry in available()] == [BUNDLED.name]
    monkeypatch.delenv("SGE_VIZ_CHECKPOINTS")
    assert directory() == OWN


# --- conversion ----------------------------------------------------------------------------------


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
