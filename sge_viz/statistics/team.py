"""The processes of one run: alone, or as torchrun starts them on one or several hosts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

_PATIENCE = timedelta(days=7)  # a host may have far more left to do than another


@dataclass(frozen=True)
class Team:
    """This process among those of the run.

    Attributes:
        rank: Its number, 0 for the one that writes results.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    def gather(self, value: Any) -> list[Any]:
        """Return every process's value, in the order of ranks, to every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def to_first(self, owner: int, data: bytes | None) -> bytes | None:
        """Hand bytes of process `owner` to process 0; the others pass None and get None."""
        if owner == 0 or self.rank not in (0, owner):
            return data if self.rank == 0 else None
        box: list[Any] = [data]
        if self.rank == owner:
            dist.send_object_list(box, 0)
            return None
        dist.recv_object_list(box, owner)
        received: bytes = box[0]
        return received


@contextmanager
def join() -> Iterator[Team]:
    """Join the processes that torchrun has started; alone without torchrun.

    Plain values and what lies on the CPU travel by gloo; gradients on GPUs by NCCL.
    """
    if not dist.is_torchelastic_launched() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Team()
        return
    both = torch.cuda.is_available() and dist.is_nccl_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if both else "gloo", timeout=_PATIENCE)
    try:
        yield Team(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def local_device(name: str) -> str:
    """Return the device of this process: torchrun's processes on one host share out its GPUs."""
    local = os.environ.get("LOCAL_RANK") if dist.is_torchelastic_launched() else None
    return f"cuda:{local}" if name == "cuda" and local is not None else name
