"""What the kinds of `train` share: the device, and what can go wrong as sentences."""

# ruff: noqa: PLC0415 (slow imports wait until the command runs, so that --help answers at once)

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from sge_viz.cli.failure import Failure


def chosen_device(arguments: argparse.Namespace) -> str:
    """Return the device of this process; by default a GPU if there is one.

    Raises:
        ValueError: There is no such device here.
    """
    import torch

    from sge_viz.statistics.team import local_device

    name = local_device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"The device {name!r} cannot be used here: choose cpu or cuda.") from error
    return name


@contextmanager
def failing() -> Iterator[None]:
    """Turn what can go wrong into sentences."""
    from sge_viz.capture import UnknownLayerError
    from sge_viz.checkpoints import BadCheckpoint
    from sge_viz.training.teacher import MissingTeacher

    try:
        yield
    except (BadCheckpoint, MissingTeacher) as error:
        raise Failure(str(error)) from error
    except (ValueError, UnknownLayerError) as error:
        raise Failure(str(error), code=2) from error
    except OSError as error:
        name = os.fspath(error.filename) if error.filename else "A file"
        raise Failure(f"{name}: {error.strerror or error}.") from error
