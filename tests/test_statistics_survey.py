"""A pass over a folder: resumed, refused, spread over processes, it gives one result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from sge_viz.capture import capture
from sge_viz.images import open_picture, prepare
from sge_viz.statistics import (
    BadResult,
    LayerStatistics,
    Plan,
    Result,
    Settings,
    WrongJob,
    choose_layers,
    read_folder,
    report,
    survey,
)
from sge_viz.statistics.shards import pack, unpack
from tests.survey_example import SETTINGS, arrays, run, small_network, small_plan, write_pictures

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "pictures"
    write_pictures(place, {"a": 9, "b": 11})
    return place


@pytest.fixture
def network():
    return small_network()


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], name)


def test_the_list_is_sorted_and_knows_its_classes(tmp_path):
    write_pictures(tmp_path, {"b/deep": 1, "a": 2})
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    (tmp_path / "a" / ".hidden.png").write_bytes(b"")
    found = read_folder(tmp_path)
    assert found.paths == ("a/000.png", "a/001.png", "b/deep/000.png")
    assert found.classes == ("a", "b") and found.labels.tolist() == [0, 0, 1]
    write_pictures(tmp_path, {"": 1})
    flat = read_folder(tmp_path)
    assert flat.classes == () and flat.labels.tolist() == [0] * 4
    assert flat.sha256 != found.sha256


@pytest.mark.parametrize("place", ["nowhere", "empty"])
def test_a_folder_without_pictures_is_a_sentence(tmp_path, place):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"is not a folder|no picture"):
        read_folder(tmp_path / place)


def test_what_is_counted_is_what_capture_sees(folder, network):
    """Every picture through capture alone, against the survey's counts of the same layer."""
    outcome = run(folder, None, network=network, batch=1)
    found = read_folder(folder)
    pictures = [prepare(open_picture(folder / path)).tensor for path in found.paths]
    maps = []
    with torch.inference_mode(), capture(network) as seen:
        for picture in pictures:
            network(picture)
            maps.append(seen["second"])
    before = np.stack([m.before[0].numpy() for m in maps]).astype(float)
    after = np.stack([m.after[0].numpy() for m in maps]).astype(float)
    statistics = outcome.tallies.statistics["second"]
    for label in (0, 1):
        of = found.labels == label
        mean = statistics.norm_before.mean[label]
        np.testing.assert_allclose(mean, before[of].mean((0, 2, 3)), rtol=1e-12)
        variance = statistics.norm_after.variance[label]
        np.testing.assert_allclose(variance, after[of].var((0, 2, 3)), rtol=1e-12)
    edges = np.concatenate([[-np.inf], SETTINGS.grid.edges, [np.inf]])
    for group in range(8):
        flat = before[:, group].ravel(), after[:, group].ravel()
        counted = np.histogram2d(*flat, bins=[edges, edges])[0]
        np.testing.assert_array_equal(statistics.joint.counts[group], counted)
    assert outcome.counted == 20 and outcome.tallies.map_sizes["second"] == (7, 7)


def test_damaged_pictures_are_left_out_and_named(folder):
    clean = run(folder, None)
    (folder / "a" / "0000.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (folder / "c.jpg").parent.joinpath("b", "zzz.jpg").write_text("<html>")
    outcome = run(folder, None)
    assert [refused.path for refused in outcome.refused] == ["a/0000.png", "b/zzz.jpg"]
    assert "damaged" in outcome.refused[0].reason and "not a picture" in outcome.refused[1].reason
    assert outcome.counted == clean.counted == 20
    for layer, statistics in clean.tallies.statistics.items():
        with_bad = outcome.tallies.statistics[layer]
        np.testing.assert_array_equal(statistics.norm_before.count, with_bad.norm_before.count)
        np.testing.assert_allclose(statistics.gate.mean, with_bad.gate.mean, rtol=1e-6)


def test_a_folder_of_damaged_pictures_only_is_a_sentence(tmp_path, network):
    (tmp_path / "x.png").write_bytes(b"nothing")
    outcome = run(tmp_path, None, network=network)
    with pytest.raises(ValueError, match="Not a single picture"):
        Result.of(network, read_folder(tmp_path), outcome)


def test_workers_change_nothing(folder, network):
    plan, found = small_plan(network), read_folder(folder)
    alone = survey(network, found, plan)
    together = survey(network, found, plan, workers=2)
    assert_equal(arrays(alone), arrays(together))


def test_shards_and_half_written_files_are_taken_up_again(folder, tmp_path):
    """The state that a kill leaves at the worst moments: lost, cut short, half written."""
    whole = arrays(run(folder, None))
    out = tmp_path / "run"
    assert_equal(arrays(run(folder, out)), whole)
    shards = sorted(out.glob("shard-*.npz"))
    assert len(shards) == 3
    shards[0].unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:-40])
    (out / ".shard-000002.npz-abc.part").write_bytes(b"half")
    untouched = shards[2].stat().st_mtime_ns
    assert_equal(arrays(run(folder, out)), whole)
    assert shards[2].stat().st_mtime_ns == untouched
    assert not list(out.glob(".*.part"))


def test_a_killed_run_ends_with_the_same_result(folder, tmp_path, network):
    whole, out = tmp_path / "whole.npz", tmp_path / "run"
    Result.of(network, read_folder(folder), run(folder, None, network=network)).save(whole)
    command = [sys.executable, "-m", "tests.survey_example", folder, out, tmp_path / "never", 0.4]
    process = subprocess.Popen([str(part) for part in command], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not list(out.glob("shard-*.npz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 1 <= len(list(out.glob("shard-*.npz"))) < 3 and not (tmp_path / "never").exists()
    end = tmp_path / "end.npz"
    Result.of(network, read_folder(folder), run(folder, out, network=network)).save(end)
    assert end.read_bytes() == whole.read_bytes()


def test_packing_changes_nothing():
    arrays = {
        "empty": np.full((4, 5), -np.inf),
        "few": np.array([[0.0, 0, 0, 0, 2.5, 0, np.nan, 0, 0]]),
        "counts": np.array([0, 0, 7, 0, 0], np.int64),
        "full": np.arange(1, 7).reshape(2, 3),
        "lowest": np.array([np.inf, np.inf, np.inf, 0.0]),
        "none": np.zeros((0, 3)),
        "one": np.array(3.0),
    }
    back, record = unpack(pack(arrays, {"counted": 3}))
    assert record == {"counted": 3}
    assert_equal(back, arrays)
    for name, array in arrays.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
    sparse = np.zeros(10**6)
    sparse[7] = 1
    assert len(pack({"x": sparse}, {})) < 5000


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_not_one_bit(folder, network, threads):
    usual = arrays(run(folder, None, network=network))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_equal(arrays(run(folder, None, network=network)), usual)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("processes", [2, 4])
def test_torchrun_gives_the_same_counts(folder, tmp_path, processes):
    alone = arrays(run(folder, None))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    target = tmp_path / "result.npz"
    parts = [folder, tmp_path / "run", target]
    command = [sys.executable, *torchrun, "-m", "tests.survey_example", *map(str, parts)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    layers = Result.load(target).layers
    together = {f"{n}/{k}": a for n, s in layers.items() for k, a in s.arrays().items()}
    for name, array in together.items():
        np.testing.assert_array_equal(array, alone[f"statistics/{name}"], name)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("weights", "the weights are others"),
        ("list", "the list of pictures has changed"),
        ("size", "the list of pictures has changed"),
        ("batch", "batch was 3 and is now 4"),
        ("near_zero", r"statistics\.near_zero was 0\.5 and is now 0\.25"),
    ],
)
def test_another_run_is_not_resumed(folder, tmp_path, network, change, reason):
    out = tmp_path / "run"
    run(folder, out, network=network)
    before = {path: path.read_bytes() for path in out.iterdir()}
    plan = small_plan(network)
    if change == "weights":
        with torch.no_grad():
            network.fc.bias[0] += 1
    elif change == "list":
        (folder / "a" / "000.png").unlink()
    elif change == "size":
        (folder / "a" / "000.png").write_bytes((folder / "a" / "000.png").read_bytes() + b" ")
    elif change == "batch":
        plan = small_plan(network, batch=4)
    else:
        plan = Plan(plan.layers, Settings(near_zero=0.25, replicates=100), 3, batch=3, shard=7)
    with pytest.raises(WrongJob, match=reason):
        survey(network, read_folder(folder), plan, out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_a_result_comes_back_from_its_file_and_explains_itself(folder, tmp_path, network):
    outcome = run(folder, None, network=network)
    result = Result.of(network, read_folder(folder), outcome)
    result.save(tmp_path / "result.npz")
    again = Result.load(tmp_path)
    assert again.settings == SETTINGS and again.classes == ("a", "b")
    for layer, statistics in result.layers.items():
        assert_equal(statistics.arrays(), again.layers[layer].arrays())
    with np.load(tmp_path / "result.npz", allow_pickle=False) as archive:
        manifest = json.loads(str(archive["manifest"]))
        kinds = {name.split("/")[1] for name in archive.files if "/" in name}
        variance = archive["second/norm_before/variance"]
    np.testing.assert_array_equal(variance, result.layers["second"].norm_before.variance)
    assert {f"LAYER/{kind}" for kind in kinds} <= set(manifest["definitions"])
    plain = json.loads(json.dumps(report(again), allow_nan=False))
    second = plain["layers"]["second"]
    assert sum(second["groups"]["norm_histogram"]["before"][0]) == 20 * 49
    assert second["classes"]["b"]["norm_before"]["count"] == [11 * 49] * 8
    assert set(second["groups"]["pictures"]["after"]) <= set(plain["definitions"])
    assert str(tmp_path) not in json.dumps(plain)


@pytest.mark.parametrize("content", [None, b"", b"PK\3\4 nothing", "index"])
def test_a_bad_result_file_is_a_sentence(tmp_path, content):
    path = tmp_path / "result.npz"
    if content == "index":
        np.savez(path, manifest=np.array('{"kind": "something else"}'))
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(BadResult, match=r"does not exist|not a result of"):
        Result.load(path)


def test_layers_are_chosen_by_path_or_all(model, network):
    assert choose_layers(model) == ("layer3.5", "layer4.2")
    assert len(choose_layers(model, ["all"])) == 16
    assert choose_layers(model, ["layer4.2.sge", "layer1.0"]) == ("layer1.0", "layer4.2")
    assert choose_layers(network) == ("first", "second")
    with pytest.raises(ValueError, match=r"no layer layer9 .* it has layer1\.0"):
        choose_layers(model, ["layer9"])
    with pytest.raises(ValueError, match="has no SGE"):
        choose_layers(torch.nn.Linear(2, 2))


def test_memory_does_not_grow_with_pictures_and_has_a_limit(network, folder):
    size = LayerStatistics.size(SETTINGS, 8, 2)
    statistics = run(folder, None, network=network).tallies.statistics["second"]
    assert sum(array.nbytes for array in statistics.arrays().values()) == size
    many = Plan(("second",), Settings(), batch=1)
    found = read_folder(folder)
    crowd = type(found)(found.root, found.paths, found.sizes, tuple(str(n) for n in range(10**6)))
    with pytest.raises(ValueError, match="choose fewer layers"):
        survey(network, crowd, many)


def test_the_network_is_left_as_it_was(folder, network):
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    run(folder, None, network=network)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_bfloat16_and_channels_last_run_and_are_recorded(folder, network):
    exact = run(folder, None, network=network)
    rough = run(folder, None, network=network, bfloat16=True, channels_last=True)
    assert rough.job.plan["bfloat16"] and rough.job.plan["channels_last"]
    ours, theirs = (o.tallies.statistics["second"].norm_after.mean for o in (rough, exact))
    np.testing.assert_allclose(ours, theirs, rtol=0.05)
