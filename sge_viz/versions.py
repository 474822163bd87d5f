"""The versions that a result depends on."""

from __future__ import annotations

import platform

import numpy as np
import PIL
import torch
import torchvision  # type: ignore[import-untyped]

import sge_viz


def versions() -> dict[str, str]:
    """Return the versions of this software, of Python and of the libraries that compute."""
    return {
        "sge_viz": sge_viz.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
    }
