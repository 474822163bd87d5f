"""The settings of a training run: one frozen record, kept with the weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from math import cos, inf, pi
from typing import Any

import torch

OPTIMISERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "steps")
PRECISIONS = ("bfloat16", "float32")


class BadSettings(ValueError):  # noqa: N818 - the text is the sentence a person reads
    """A setting is impossible, or a run was begun with others."""


def usual_precision(device: str) -> str:
    """Return "bfloat16" where the hardware multiplies in it, "float32" elsewhere.

    A CPU that has to emulate bfloat16 trains several times as slowly as in float32.

    Args:
        device: Such as "cpu" or "cuda:0".
    """
    if torch.device(device).type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = torch.cpu.get_capabilities()
        native = any(has.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return "bfloat16" if native else "float32"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a network is trained.

    Attributes:
        task: "distil" or "supervised".
        architecture: Such as "sge_resnet50" or "resnet50".
        start: SHA-256 of the weights it starts from; None for random ones.
        images: Views to train on in all; the last batch may pass it.
        batch: Views a step, over all processes.
        phases: (side in pixels, share of the views), in order; the shares add up to 1.
        optimiser: "adamw" or "sgd".
        rate: Largest learning rate.
        sge_rate: Factor on it for SGE's gamma and beta.
        momentum: Of SGD.
        weight_decay: On the weights of convolutions and of linear layers, on nothing else for
            AdamW; on all but SGE's parameters for SGD, as in the published training.
        schedule: "cosine", down to 0, or "steps": a tenth after each milestone.
        milestones: Shares of the views after which "steps" takes its steps.
        warm_up: Share of the views over which the rate rises from 0.
        ema: Factor of the moving average of the weights a step; 0 keeps the last weights.
        label_share: Share of what is known of the labels in the targets of a distillation.
        repeats: (source, times): sources whose pictures a pass shows more than once.
        area: Least and largest share of the picture in a view.
        blur: Share of the views of a distillation that are blurred.
        seed: Of everything random.
        precision: "bfloat16" (autocast) or "float32".
        compile: Whether SGE is compiled.
    """

    task: str
    architecture: str = "sge_resnet50"
    start: str | None = None
    images: int = 250_000
    batch: int = 64
    phases: tuple[tuple[int, float], ...] = ((224, 1.0),)
    optimiser: str = "adamw"
    rate: float = 1e-3
    sge_rate: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 0.05
    schedule: str = "cosine"
    milestones: tuple[float, ...] = (0.3, 0.6, 0.9)
    warm_up: float = 0.04
    ema: float = 0.998
    label_share: float = 0.5
    repeats: tuple[tuple[str, int], ...] = ()
    area: tuple[float, float] = (0.35, 1.0)
    blur: float = 0.0
    seed: int = 0
    precision: str = "bfloat16"
    compile: bool = True

    def __post_init__(self) -> None:
        """Check what can be wrong.

        Raises:
            BadSettings: A setting is impossible.
        """
        shares = sum(share for _, share in self.phases)
        wrong = {
            f"the optimiser {self.optimiser!r} (choose {' or '.join(OPTIMISERS)})": (
                self.optimiser not in OPTIMISERS
            ),
            f"the schedule {self.schedule!r} (choose {' or '.join(SCHEDULES)})": (
                self.schedule not in SCHEDULES
            ),
            f"the precision {self.precision!r} (choose {' or '.join(PRECISIONS)})": (
                self.precision not in PRECISIONS
            ),
            f"{self.images} images in batches of {self.batch} (both must be at least 1)": (
                self.images < 1 or self.batch < 1
            ),
            f"phases whose shares add up to {shares:g} (they must add up to 1)": (
                not abs(shares - 1) <= 1e-6 or any(share < 0 for _, share in self.phases)
            ),
            "a phase with a side below 32 pixels": any(side < 32 for side, _ in self.phases),
            f"the learning rate {self.rate:g} (it must be above 0)": not 0 < self.rate < inf,
            f"a factor of {self.sge_rate:g} on the rate of gamma and beta (0 or more)": (
                not 0 <= self.sge_rate < inf
            ),
            f"a momentum of {self.momentum:g} (it lies in [0, 1))": not 0 <= self.momentum < 1,
            f"a weight decay of {self.weight_decay:g} (0 or more)": (
                not 0 <= self.weight_decay < inf
            ),
            f"the factor {self.ema:g} of the moving average (it lies in [0, 1))": (
                not 0 <= self.ema < 1
            ),
            f"a label share of {self.label_share:g} (it lies in [0, 1])": (
                not 0 <= self.label_share <= 1
            ),
            f"a share of {self.blur:g} of blurred views (it lies in [0, 1])": (
                not 0 <= self.blur <= 1
            ),
            f"a warm-up of {self.warm_up:g} (it lies in [0, 1))": not 0 <= self.warm_up < 1,
            f"the milestones {self.milestones} (shares of the run)": (
                not all(0 <= milestone <= 1 for milestone in self.milestones)
            ),
            "a source to be shown less than once": any(times < 1 for _, times in self.repeats),
            f"views of {self.area} of a picture (from above 0 to 1)": (
                not 0 < self.area[0] <= self.area[1] <= 1
            ),
        }
        for what, holds in wrong.items():
            if holds:
                raise BadSettings(f"These settings cannot be used: {what}.")

    @property
    def steps(self) -> int:
        """Steps in all."""
        return -(-self.images // self.batch)

    def spans(self) -> list[tuple[int, range]]:
        """Return the side in pixels and the steps of each phase."""
        ends = [round(end * self.steps) for end in accumulate(share for _, share in self.phases)]
        ends[-1] = self.steps  # the shares add up to 1, but for rounding
        begins = [0, *ends]
        return [
            (side, range(begin, end))
            for (side, _), begin, end in zip(self.phases, begins, ends, strict=False)
        ]

    def side(self, step: int) -> int:
        """Return the side in pixels of the views of a step."""
        sides = (side for side, steps in self.spans() if step < steps.stop)
        return next(sides, self.phases[-1][0])

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, as a factor on `rate`, in [0, 1]."""
        done, warm = (step + 0.5) / self.steps, self.warm_up
        if done < warm:
            return done / warm
        if self.schedule == "cosine":
            return (1 + cos(pi * (done - warm) / (1 - warm))) / 2
        return float(0.1 ** sum(done >= milestone for milestone in self.milestones))

    def text(self) -> str:
        """Return the settings as JSON, for a card."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Settings:
        """Read what `text` wrote."""
        values: dict[str, Any] = json.loads(text)
        values["phases"] = tuple((int(side), float(share)) for side, share in values["phases"])
        values["repeats"] = tuple((str(name), int(times)) for name, times in values["repeats"])
        values["milestones"] = tuple(values["milestones"])
        values["area"] = tuple(values["area"])
        return replace(cls(task=values.pop("task")), **values)

    def difference(self, other: Settings) -> str:
        """Name what differs from other settings, for a sentence; empty if nothing does."""
        mine, others = asdict(self), asdict(other)
        return ", ".join(
            f"{name} {others[name]} instead of {mine[name]}"
            for name in mine
            if mine[name] != others[name]
        )
