"""The state of a run on disk: everything that the next step depends on."""

from __future__ import annotations

import errno
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from sge_viz.statistics.shards import replacing
from sge_viz.training.settings import BadSettings, Settings

FILE = "state.pt"


@dataclass
class State:
    """What a run has come to.

    Attributes:
        module: The network and all that is trained with it.
        average: The moving average of the network; None without one.
        optimiser: The optimiser.
        step: Steps done.
        seconds: Time spent on them, over all sittings.
    """

    module: nn.Module
    average: AveragedModel | None
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0

    def save(self, folder: Path, settings: Settings, material: str) -> None:
        """Write it; a file is there whole or not at all.

        Args:
            folder: Of the run.
            settings: Of the run.
            material: Hash of what is learnt from.
        """
        values: dict[str, Any] = {
            "settings": settings.text(),
            "material": material,
            "step": self.step,
            "seconds": self.seconds,
            "module": self.module.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
        }
        with replacing(folder / FILE) as file:
            try:
                torch.save(values, file)
            except RuntimeError as error:  # which does not say why the file took no more
                reason = "it could not be written, perhaps because the disk is full"
                raise OSError(errno.EIO, reason, str(folder / FILE)) from error

    def resume(self, folder: Path, settings: Settings, material: str) -> bool:
        """Take over the state of a folder, if there is one.

        Returns:
            Whether there was.

        Raises:
            BadSettings: It belongs to a run with other settings or other pictures, or is damaged.
        """
        path = folder / FILE
        if not path.exists():
            return False
        try:
            values = _read(path)
            begun, learnt = Settings.from_text(values["settings"]), values["material"]
        except Exception as error:  # torch names no class for all that a damaged file may raise
            raise BadSettings(
                f"{path} is damaged: delete it to begin the run again, or choose another --out."
            ) from error
        differing = begun.difference(settings)
        if differing or learnt != material:
            reason = differing or "other pictures"
            raise BadSettings(
                f"{folder} holds a run that was begun with other settings ({reason}): go on with "
                "the same ones, or choose another --out."
            )
        self.module.load_state_dict(values["module"])
        self.optimiser.load_state_dict(values["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(values["average"])
        torch.set_rng_state(values["random"])
        self.step, self.seconds = int(values["step"]), float(values["seconds"])
        return True


def clean(folder: Path) -> None:
    """Remove the states that killed processes left half written."""
    for path in folder.glob(f".{FILE}-*"):
        path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    """Read a state, and its checksums, which torch passes over."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} does not hold")
    values: dict[str, Any] = torch.load(path, "cpu", weights_only=True)
    return values
