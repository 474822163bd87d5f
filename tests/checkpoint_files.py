"""Checkpoint files for the tests, made as their authors make them, and a place to put them."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from unittest import mock

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.parallel import DataParallel

from sge_viz.checkpoints import BadCheckpoint, load_model
from sge_viz.checkpoints.files import sha256_of


def train_a_little(model: nn.Module) -> None:
    """Give every parameter and buffer of a network values of its own, without a forward pass."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                tensor.fill_(450_000)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            else:
                tensor.add_(torch.randn_like(tensor), alpha=0.02)


def training_checkpoint(model: nn.Module) -> dict:
    """Return what the authors' training script saves: the wrapped state dict among much else."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model.fc.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()  # so that the optimiser's state holds momentum buffers
    return {
        "epoch": 100,
        "arch": "sge_resnet18",
        "state_dict": DataParallel(model).state_dict(),
        "acc": torch.tensor(77.5),
        "best_acc": torch.tensor(77.6),
        "optimizer": optimizer.state_dict(),
    }


def save_legacy(content: object, path: Path, *, from_gpu: bool = False) -> Path:
    """Save as torch did before 1.6; `from_gpu` tags every storage as if it lay on a GPU."""
    return save(content, path, from_gpu=from_gpu, _use_new_zipfile_serialization=False)


def save(content: object, path: Path, *, from_gpu: bool = False, **options: object) -> Path:
    """Save with torch.save; `from_gpu` tags every storage as if it lay on a GPU."""
    tagged = mock.patch("torch.serialization.location_tag", lambda _: "cuda:0")
    with tagged if from_gpu else contextlib.nullcontext():
        torch.save(content, path, **options)
    return path


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


def same(model, state):
    loaded = model.state_dict()
    return loaded.keys() == state.keys() and all(
        torch.equal(loaded[name], tensor) for name, tensor in state.items()
    )


def written(path, content):
    path.write_bytes(content)
    return path


def record(folder, name, path, **more):
    entry = {"sha256": sha256_of(path), "source": "https://example.org", "date": "2026-01-02"}
    (folder / "hashes.json").write_text(json.dumps({name: entry | {"converted": []} | more}))


def sentence(source, **options):
    """Return the sentence that loading answers with, which must be fit for a person."""
    with pytest.raises(BadCheckpoint) as refused:
        load_model(source, "cpu", **options)
    text = str(refused.value)
    assert text.endswith((".", "`.")) and "\n" not in text and len(text) < 1200
    assert not re.search(r'Traceback|File "|site-packages|0x[0-9a-f]{6}|\.py\b', text)
    return text
