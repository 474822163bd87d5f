"""Training by several processes under torchrun: one run, whoever looks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from sge_viz.checkpoints import load_model
from sge_viz.statistics import read_folder, team
from sge_viz.training.supervised import Supervised
from tests.training_example import (
    CPU,
    SGD,
    distillation,
    lone_network,
    make_pack,
    run,
    supervised_settings,
    write_pictures,
)

ROOT = Path(__file__).resolve().parents[1]


def torchrun(*words):
    """Run a module in two processes."""
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command = [sys.executable, *start, *map(str, words)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=580, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("material")
    make_pack(folder)
    write_pictures(folder / "classes", {"a": 5, "b": 6}, seed=4)
    return folder


@pytest.fixture(scope="module")
def runs(material, tmp_path_factory):
    """The folder of all that two processes have trained."""
    out = tmp_path_factory.mktemp("runs")
    parts = [material / "pack", material / "classes", out]
    torchrun("tests.training_example", *parts)
    return out


def weights(runs, name, rank=0):
    return torch.load(runs / f"{name}-{rank}.pt", weights_only=True)


@pytest.mark.parametrize("name", ["lone", "whole", "stopped", "labels"])
def test_the_processes_have_the_same_weights(runs, name):
    one, two = weights(runs, name), weights(runs, name, 1)
    kinds = ("running_mean", "running_var")  # of the pictures that a process saw itself
    for key, tensor in one.items():
        if not key.endswith(kinds):
            assert torch.equal(tensor, two[key]), key


def test_two_processes_learn_what_one_learns(runs, material, tmp_path):
    """Where no picture's features depend on the rest of its batch."""
    alone = {"lone": run(distillation(material / "pack", lone_network()), SGD, tmp_path / "lone")}
    labels = Supervised(lone_network(2), read_folder(material / "classes"), CPU)
    alone["labels"] = run(labels, supervised_settings(ema=0.0), tmp_path / "labels")
    begun = {"lone": lone_network(), "labels": lone_network(2)}
    for name, network in alone.items():
        together = weights(runs, name)
        for key, tensor in network.state_dict().items():
            moved = (tensor - begun[name].state_dict()[key]).abs().max().item()
            away = (together[key] - tensor).abs().max().item()
            assert moved > 1e-5 and away < 0.01 * moved, key


def test_a_stopped_run_of_two_goes_on_to_the_same_weights(runs):
    ours, theirs = weights(runs, "stopped"), weights(runs, "whole")
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())
    logs = [(runs / name / "log.jsonl").read_text().splitlines() for name in ("stopped", "whole")]
    values = [[json.loads(line)["values"] for line in log] for log in logs]
    assert values[0] == values[1] and len(values[0]) == 6  # of one process alone


def test_the_command_under_torchrun(material, tmp_path):
    out = tmp_path / "run"
    options = "--images 8 --batch 4 --phases 64:1 --precision float32 --no-compile --device cpu"
    words = ["train", "distil", material / "pack", "--out", out, *options.split()]
    done = torchrun("sge_viz", *words, "--architecture", "sge_resnet18")
    assert done.stdout.count("8 views learnt") == 1 and done.stderr.count("8/8 views") == 1
    assert load_model(out / "weights.safetensors", "cpu").card.architecture == "sge_resnet18"
    assert {path.name for path in out.iterdir()} == {"state.pt", "log.jsonl", "weights.safetensors"}


@pytest.mark.parametrize(
    ("gpus", "nccl", "backend"),
    [(True, True, "cpu:gloo,cuda:nccl"), (True, False, "gloo"), (False, True, "gloo")],
)
def test_gradients_on_gpus_travel_by_nccl_and_plain_values_by_gloo(
    monkeypatch, gpus, nccl, backend
):
    begun = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(dist, "is_nccl_available", lambda: nccl)
    monkeypatch.setattr(dist, "init_process_group", lambda name, **_: begun.append(name))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: begun.append("end"))
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus)
    with team.join() as joined:
        assert (joined.rank, joined.size) == (1, 2)
    assert begun == [backend, "end"]
