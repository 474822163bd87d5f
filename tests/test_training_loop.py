"""The training loop: it learns, and a stopped run goes on to the very same weights."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from sge_viz import sge
from sge_viz.capture import capture
from sge_viz.resnet import sge_resnet18
from sge_viz.statistics import read_folder
from sge_viz.statistics.team import Team
from sge_viz.training import loop
from sge_viz.training.distil import Distillation
from sge_viz.training.packing import open_pack
from sge_viz.training.settings import BadSettings
from sge_viz.training.state import FILE
from sge_viz.training.supervised import Supervised
from tests.training_example import (
    CPU,
    LABELLED,
    OTHERS,
    lone_network,
    make_pack,
    run,
    small_network,
    small_settings,
    supervised_settings,
    write_pictures,
)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A pack, and class folders of which one holds a damaged picture."""
    folder = tmp_path_factory.mktemp("material")
    make_pack(folder)
    write_pictures(folder / "classes", {"a": 5, "b": 6}, seed=4)
    (folder / "classes" / "b" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return folder


@pytest.fixture
def tasks(material):
    """Makers of a task and its settings, by name."""
    packed, folder = open_pack(material / "pack"), read_folder(material / "classes")

    def distil(network=None, **options):
        torch.manual_seed(1)
        return Distillation(network or small_network(), packed, CPU), small_settings(**options)

    def supervised(network=None, **options):
        return Supervised(network or small_network(2), folder, CPU), supervised_settings(**options)

    return {"distil": distil, "supervised": supervised}


def log_of(out):
    """What a log says, without what is measured in seconds."""
    lines = [json.loads(line) for line in (out / loop.LOG).read_text().splitlines()]
    timed = {"views_per_second", "seconds_left", "time"}
    return [{name: value for name, value in line.items() if name not in timed} for line in lines]


def assert_same(ours, theirs):
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def assert_finite(network):
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())


@pytest.mark.parametrize("kind", ["distil", "supervised"])
def test_a_stopped_run_goes_on_to_the_same_weights(tasks, tmp_path, kind):
    """The network, its average and the log, bit for bit; stopped in each phase."""
    task, settings = tasks[kind]()
    whole = run(task, settings, tmp_path / "whole")
    for stop in (2, 4):
        run(tasks[kind]()[0], settings, tmp_path / "stopped", stop_after=stop)
        assert log_of(tmp_path / "stopped")[-1]["step"] == stop
    again, _ = tasks[kind]()
    average = run(again, settings, tmp_path / "stopped")
    assert_same(again.network, task.network)
    assert_same(average, whole)
    assert log_of(tmp_path / "stopped") == log_of(tmp_path / "whole")
    assert [line["side"] for line in log_of(tmp_path / "whole")] == [32] * 3 + [64] * 3
    assert_finite(average)
    with pytest.raises(AssertionError):
        assert_same(average, task.network)


def test_a_run_in_bfloat16_and_compiled_goes_on_too(tasks, tmp_path):
    """One SGE module is left, so that one graph alone is compiled."""

    def task():
        network = small_network()
        for layer in (network.layer1, network.layer2, network.layer3):
            layer[0].sge = nn.Identity()
        nn.init.ones_(network.layer4[0].sge.weight)
        options = {"images": 24, "phases": ((64, 1.0),), "compile": True, "ema": 0.0}
        return tasks["distil"](network, **options, precision="bfloat16")

    first, settings = task()
    whole = run(first, settings, tmp_path / "whole")
    run(task()[0], settings, tmp_path / "stopped", stop_after=1)
    assert_same(run(task()[0], settings, tmp_path / "stopped"), whole)
    assert_finite(whole)
    plain, _ = task()
    exact = run(plain, replace(settings, compile=False), tmp_path / "plain")
    for ours, theirs in zip(whole.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0.02)


def test_each_size_of_map_is_compiled_once_and_the_network_can_be_looked_into_after(
    tasks, tmp_path, monkeypatch
):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda step, **_: compiled.append(step.__name__) or step)
    monkeypatch.setattr(sge, "_compiled", {})
    for ema in (0.0, 0.5):
        task, settings = tasks["distil"](compile=True, ema=ema, images=8)
        network = run(task, settings, tmp_path / str(ema))
        assert len(compiled) == len(set(compiled)) == 4
        assert not network.training
        assert not any(getattr(part, "compiled", False) for part in task.module.modules())
        with torch.inference_mode(), capture(network) as seen:
            network(torch.rand(1, 3, 64, 64))
        assert len(seen) == 4 == len(compiled)  # it runs as it is given: not compiled
    task, settings = tasks["distil"](compile=False, images=8)
    monkeypatch.setattr(sge, "_compiled", {})
    run(task, settings, tmp_path / "plain")
    assert len(compiled) == 4


def test_the_average_is_what_a_naive_loop_gives(tasks, tmp_path, monkeypatch):
    """0.9 times the last average and 0.1 times the weights after each step."""
    task, settings = tasks["distil"]()
    weights, real = [], loop._step

    def step(*arguments):
        values = real(*arguments)
        weights.append({n: t.detach().clone() for n, t in task.network.state_dict().items()})
        return values

    monkeypatch.setattr(loop, "_step", step)
    average = run(task, settings, tmp_path).state_dict()
    for name in ("fc.weight", "layer4.0.bn2.running_var", "layer1.0.sge.bias"):
        wanted = weights[0][name].double()
        for after in weights[1:]:
            wanted = 0.9 * wanted + 0.1 * after[name].double()
        torch.testing.assert_close(average[name].double(), wanted, rtol=1e-5, atol=1e-6)


def test_without_an_average_the_network_itself_is_given(tasks, tmp_path):
    task, settings = tasks["distil"](ema=0.0, images=8)
    assert run(task, settings, tmp_path) is task.network


@pytest.mark.parametrize("kind", ["distil", "supervised"])
def test_it_learns(tasks, tmp_path, kind):
    """Few pictures by heart, in 30 steps."""
    options = {"images": 480, "batch": 16, "phases": ((32, 1.0),), "ema": 0.0, "area": (0.9, 1.0)}
    rate = {"distil": 1e-3, "supervised": 0.05}[kind]
    task, settings = tasks[kind](**options, rate=rate, label_share=0.5, warm_up=0.1)
    network = run(task, settings, tmp_path)
    losses = [line["values"]["loss"] for line in log_of(tmp_path)]
    first, last = sum(losses[:3]) / 3, sum(losses[-3:]) / 3
    assert last < {"distil": 0.5, "supervised": 0.35}[kind] * first
    assert_finite(network)
    sge = network.layer2[0].sge  # at 32 px the last map is one cell, and gamma counts for nothing
    assert (sge.weight != 0).any() and (sge.bias != 1).any()


def test_the_bits_of_an_sge_resnet18_do_not_depend_on_the_sitting(tasks, tmp_path):
    def task():
        torch.manual_seed(0)
        return tasks["supervised"](sge_resnet18(2), images=16, precision="bfloat16")

    (first, settings), (again, _), (third, _) = task(), task(), task()
    whole = run(first, settings, tmp_path / "whole")
    run(again, settings, tmp_path / "stopped", stop_after=1)
    assert_same(run(third, settings, tmp_path / "stopped"), whole)


def test_the_log_says_how_it_goes(tasks, tmp_path):
    told = []
    task, settings = tasks["distil"]()
    run(task, settings, tmp_path, tell=told.append)
    lines = [json.loads(line) for line in (tmp_path / loop.LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [vars(report) for report in told] == [
        {name: value for name, value in line.items() if name != "time"} for line in lines
    ]
    assert set(lines[0]["values"]) == {"loss", "pooled", "dense", "features"}
    assert all(line["views_per_second"] > 0 for line in lines)
    assert [line["rate"] for line in lines] == [1e-3 * settings.rate_at(n) for n in range(6)]
    # 3 steps at 32 px are left, and 3 at 64 px take four times as long each.
    wanted = [(max(0, 3 - n) + 4 * 3) * 8 / lines[n - 1]["views_per_second"] for n in (1, 2, 3)]
    assert [line["seconds_left"] for line in lines[:3]] == pytest.approx(wanted)
    assert lines[-1]["seconds_left"] == 0


def test_reports_are_means_since_the_last(tasks, tmp_path):
    task, settings = tasks["distil"]()
    run(task, settings, tmp_path / "each")
    again, _ = tasks["distil"]()
    loop.train(again, settings, tmp_path / "some", CPU, report_every=4)
    each = [line["values"]["loss"] for line in log_of(tmp_path / "each")]
    some = {line["step"]: line["values"]["loss"] for line in log_of(tmp_path / "some")}
    assert some == pytest.approx({4: sum(each[:4]) / 4, 6: sum(each[4:]) / 2})


def test_a_finished_run_is_not_trained_again(tasks, tmp_path):
    task, settings = tasks["distil"](images=16)
    whole = run(task, settings, tmp_path)
    again, _ = tasks["distil"](images=16)
    told = []
    assert_same(run(again, settings, tmp_path, tell=told.append), whole)
    assert told == [] and len(log_of(tmp_path)) == 2


def test_what_a_killed_run_did_after_its_last_saving_is_done_again(tasks, tmp_path):
    """The log is as if nobody had stopped it, and nothing half written is left."""
    task, settings = tasks["distil"]()
    whole = run(task, settings, tmp_path / "whole")
    out = tmp_path / "killed"
    run(tasks["distil"]()[0], settings, out, stop_after=3)
    saved = (out / FILE).read_bytes()
    run(tasks["distil"]()[0], settings, out, stop_after=5)
    (out / FILE).write_bytes(saved)
    (out / f".{FILE}-abc.part").write_bytes(saved[:1000])
    with (out / loop.LOG).open("a") as log:
        log.write('{"step": 6, "val')
    assert_same(run(tasks["distil"]()[0], settings, out), whole)
    assert log_of(out) == log_of(tmp_path / "whole")
    assert {path.name for path in out.iterdir()} == {FILE, loop.LOG}


def test_it_saves_as_often_as_it_is_told(tasks, tmp_path, monkeypatch):
    saved, real = [], loop.State.save
    monkeypatch.setattr(
        loop.State,
        "save",
        lambda state, *arguments: (saved.append(state.step), real(state, *arguments))[1],
    )
    for every, wanted in ((0.0, [1, 2, 3, 3]), (3600.0, [3])):
        saved.clear()
        task, settings = tasks["distil"](images=24)
        run(task, settings, tmp_path / str(every), save_every=every)
        assert saved == wanted


@pytest.fixture
def begun(tasks, tmp_path):
    """The folder of a run that was stopped, and what is in it."""
    task, settings = tasks["distil"]()
    run(task, settings, tmp_path / "run", stop_after=1, material="these")
    return tmp_path / "run", settings


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rate": 0.5}, "rate 0.5 instead of 0.001"),
        ({"seed": 3, "batch": 4}, "batch 4 instead of 8, seed 3 instead of 0"),
        ({}, "other pictures"),
    ],
)
def test_another_run_is_not_gone_on_with(tasks, begun, change, reason):
    out, settings = begun
    before = contents(out)
    task, _ = tasks["distil"]()
    with pytest.raises(BadSettings, match=rf"other settings \({reason}\): go on with the same"):
        run(task, replace(settings, **change), out, material="these" if change else "others")
    assert contents(out) == before


def test_a_state_that_cannot_be_written_names_its_file_and_leaves_the_last(
    tasks, begun, monkeypatch
):
    out, settings = begun
    before = contents(out)

    def full(*_):
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="perhaps because the disk is full") as caught:
        run(tasks["distil"]()[0], settings, out, stop_after=2, material="these")
    assert caught.value.filename == str(out / FILE)
    assert contents(out)[FILE] == before[FILE]


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped"])
def test_a_damaged_state_is_refused(tasks, begun, damage):
    out, settings = begun
    whole = (out / FILE).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    kinds = {"empty": b"", "text": b"no state", "cut": whole[:-100], "flipped": bytes(flipped)}
    (out / FILE).write_bytes(kinds[damage])
    before = contents(out)
    with pytest.raises(BadSettings, match="is damaged: delete it to begin the run again"):
        run(tasks["distil"]()[0], settings, out, material="these")
    assert contents(out) == before
    (out / FILE).unlink()
    run(tasks["distil"]()[0], settings, out, stop_after=1, material="these")
    assert [line["step"] for line in log_of(out)] == [1]


def test_hosts_that_do_not_share_the_folder_are_told(tasks, tmp_path, monkeypatch):
    monkeypatch.setattr(Team, "gather", lambda team, step: [step, 40])
    task, settings = tasks["distil"]()
    with pytest.raises(BadSettings, match=r"different steps \(0, 40\): --out must be a folder"):
        run(task, settings, tmp_path)


def batches(task, settings, team=None, first=0):
    return list(task.batches(settings, first, team or Team()))


@pytest.mark.parametrize("kind", ["distil", "supervised"])
def test_processes_share_out_the_very_batch_of_one(tasks, kind):
    task, settings = tasks[kind](images=16)
    alone = batches(task, settings)
    shares = [batches(task, settings, Team(rank, 2)) for rank in (0, 1)]
    for step, batch in enumerate(alone):
        tensors = range(3 if kind == "distil" else 2)
        for index in tensors:
            both = torch.cat([share[step][index] for share in shares])
            torch.testing.assert_close(both, batch[index])
    later = batches(task, settings, first=1)
    assert len(later) == 1 and torch.equal(later[0][0], alone[1][0])


def test_a_distilled_batch_is_pictures_with_what_the_teacher_sees_there(tasks):
    task, settings = tasks["distil"](label_share=0.3)
    sizes = []
    for pictures, features, labels, share in batches(task, settings):
        assert pictures.shape[2] == 32 * features.shape[2] and features.shape[1] == 8
        assert pictures.min() > -1e-5 and pictures.max() < 1 + 1e-5
        assert float(share) == pytest.approx(0.3)
        assert all(pair in ([0, 999], [207, 207], [281, 281]) for pair in labels.tolist())
        sizes.append(pictures.shape[2])
    assert sizes == [32] * 3 + [64] * 3


def test_blurred_views_lie_on_the_same_places(tasks):
    task, settings = tasks["distil"]()
    for sharp, soft in zip(
        batches(task, settings), batches(task, replace(settings, blur=1.0)), strict=True
    ):
        assert all(torch.equal(one, other) for one, other in zip(sharp[1:], soft[1:], strict=True))
        roughness = [pictures.diff(dim=3).abs().mean((1, 2, 3)) for pictures in (sharp[0], soft[0])]
        assert (roughness[1] <= roughness[0] + 1e-4).all() and sum(roughness[1] < roughness[0]) > 1
        torch.testing.assert_close(sharp[0].mean((2, 3)), soft[0].mean((2, 3)), atol=0.1, rtol=0)


def test_a_source_can_be_shown_more_often(tasks):
    task, settings = tasks["distil"](batch=LABELLED * 3 + OTHERS, images=1)
    assert task.sources == {"known": LABELLED, "wild": OTHERS}
    [(_, _, labels, _)] = batches(task, replace(settings, repeats=(("known", 3),)))
    known = labels[:, 0] == labels[:, 1]
    assert known.sum() == 3 * LABELLED and (~known).sum() == OTHERS
    with pytest.raises(BadSettings, match="no source 'dogs' in the pack: it has known, wild"):
        batches(task, replace(settings, repeats=(("dogs", 2),)))


def test_classes_must_be_as_many(material):
    with pytest.raises(ValueError, match="network has 7 classes and the teacher 1000"):
        Distillation(small_network(7), open_pack(material / "pack"), CPU)
    with pytest.raises(ValueError, match="has 2 class folders, and the network 7 classes"):
        Supervised(small_network(7), read_folder(material / "classes"), CPU)


def test_a_damaged_picture_is_neither_learnt_nor_counted(tasks):
    """The loss is the naive mean over the pictures that can be read."""
    network = lone_network(2).eval()
    task, settings = tasks["supervised"](network, batch=12, images=12)
    [(pictures, labels)] = batches(task, settings)
    assert sorted(labels.tolist()) == [-1] + [0] * 5 + [1] * 6
    found = task.module(pictures, labels)
    logits = network(
        (pictures - torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    )
    losses, right = [], []
    for row, label in zip(logits.double(), labels.tolist(), strict=True):
        if label >= 0:
            losses.append(row.exp().sum().log() - row[label])
            right.append(float(row.argmax() == label))
    assert found["loss"].item() == pytest.approx(sum(losses).item() / 11, rel=1e-4)
    assert found["top1"].item() == pytest.approx(sum(right) / 11)
    assert found["refused"].item() == pytest.approx(1 / 12)


def test_workers_change_no_batch(tasks, material):
    task, settings = tasks["supervised"](images=24)
    folder = read_folder(material / "classes")
    helped = Supervised(small_network(2), folder, CPU, workers=2)
    for ours, theirs in zip(batches(helped, settings), batches(task, settings), strict=True):
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


def test_a_full_disk_leaves_the_last_state_whole(tasks, begun, monkeypatch):
    out, settings = begun
    before = (out / FILE).read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        run(tasks["distil"]()[0], settings, out, stop_after=2, material="these")
    assert (out / FILE).read_bytes() == before
    assert not list(out.glob("*.part")) and not list(out.glob(".*.part"))
