"""A trained network as a checkpoint that tells how it was made."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sge_viz import __version__
from sge_viz.checkpoints.conversion import safetensors_bytes
from sge_viz.checkpoints.files import written_atomically
from sge_viz.training.settings import Settings


def release(
    network: nn.Module,
    out: Path,
    settings: Settings,
    about: Mapping[str, Any],
    *,
    half: bool = False,
) -> Path:
    """Write a network's weights as safetensors, with its card in the metadata.

    Args:
        network: The trained network.
        out: The file to write.
        settings: How it was trained.
        about: What else the card says, such as title, data, quality, licence; what is not text is
            written as JSON.
        half: Round the weights to half precision.
    """
    tensors = {name: _kept(tensor, half) for name, tensor in network.state_dict().items()}
    card: dict[str, Any] = {
        "format": "pt",
        "written_by": f"sge-viz {__version__}",
        "recipe": settings.text(),
        **about,
    }
    metadata = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in card.items()
    }
    written_atomically(out, safetensors_bytes(tensors, metadata))
    return out


def commit() -> str:
    """Return the commit of this software, with "+" if files differ from it; else its version."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        answer = subprocess.run(
            ["git", *words], cwd=here, capture_output=True, text=True, check=True
        )
        return answer.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return f"version {__version__}"


def _kept(tensor: Tensor, half: bool) -> Tensor:
    kept = tensor.detach().cpu().contiguous().clone()
    return kept.to(torch.float16) if half and kept.is_floating_point() else kept
