"""What is no checkpoint, or must not be loaded, and the sentence that says so."""

import contextlib
import decimal
import io
import os
import pickle
import re
import shutil
import zipfile

import pytest
import torch
import torchvision
from checkpoint_files import FORMS, save, save_legacy, sentence, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sge_viz import resnet
from sge_viz.checkpoints import BadCheckpoint
from sge_viz.checkpoints.architecture import check_fit, identify
from sge_viz.checkpoints.contents import read

pytest_plugins = ["checkpoint_fixtures"]
pytestmark = [
    pytest.mark.usefixtures("folder"),
    pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:Validating"),
]


# --- what is refused, and how --------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "tensor", [torch.zeros(7, 512, device="meta"), torch.zeros(1).expand(10**9, 512)]
)
def test_tensors_without_numbers_of_their_own(tensor, state, tmp_path):
    state["fc.weight"] = tensor
    assert "'fc.weight' that is not a plain tensor" in sentence(save(state, tmp_path / "a.pth"))


@pytest.mark.parametrize(("groups", "words"), [(48, "48 groups"), (0, "0 groups")])
def test_groups_that_cannot_be(groups, words, state, tmp_path):
    for name in state:
        if ".sge." in name:
            state[name] = torch.ones(1, groups, 1, 1)
    assert words in sentence(save(state, tmp_path / "a.pth"))


def test_blocks_that_disagree_on_their_groups(state, tmp_path):
    for name in ("layer1.0.sge.weight", "layer4.1.sge.weight"):
        other = {**state, name: torch.ones(1, 16, 1, 1)}
        text = sentence(save(other, tmp_path / "a.pth"))
        assert f": {name} (1, 16, 1, 1) instead of (1, 8, 1, 1)" in text
