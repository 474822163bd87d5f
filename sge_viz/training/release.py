"""A trained network as a checkpoint that tells how it was made."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sge_viz import __version__
from sge_viz.checkpoints.conversion import safetensors_bytes
from sge_viz.checkpoints.files import written_atomically


def release(
    tensors: Mapping[str, Tensor], out: Path, card: Mapping[str, Any], *, half: bool = False
) -> Path:
    """Write weights as safetensors, with a card in the metadata.

    Args:
        tensors: The network's state.
        out: The file to write; it appears whole or not at all.
        card: What is to be known of them, such as title, recipe, quality, licence. What is not text
            is written as JSON.
        half: Round the weights to half precision.

    Raises:
        ValueError: A weight is too large for half precision.
    """
    kept = {name: _kept(tensor, half) for name, tensor in tensors.items()}
    for name, tensor in kept.items():
        if not tensor.isfinite().all():
            raise ValueError(
                f"{name} holds numbers that are not finite: do without half precision."
            )
    full = {"format": "pt", "written_by": f"sge-viz {__version__}"} | dict(card)
    metadata = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in full.items()
    }
    return written_atomically(out, safetensors_bytes(kept, metadata))


def commit() -> str:
    """Return the commit of this software, with "+" if files differ from it; else its version."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        command = ["git", *words]
        answer = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True)
        return answer.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return f"version {__version__}"


def _kept(tensor: Tensor, half: bool) -> Tensor:
    kept = tensor.detach().cpu().contiguous().clone()
    return kept.to(torch.float16) if half and kept.is_floating_point() else kept
