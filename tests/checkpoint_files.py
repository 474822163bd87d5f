"""Checkpoint files for the tests, made as their authors make them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from unittest import mock

import torch
from torch import nn
from torch.nn.parallel import DataParallel


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
