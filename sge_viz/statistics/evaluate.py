"""Top-1 and top-5 accuracy over a folder of class folders, beside the published figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from sge_viz.statistics.folder import Folder
from sge_viz.statistics.moments import Counts
from sge_viz.statistics.plan import Plan
from sge_viz.statistics.provenance import provenance
from sge_viz.statistics.survey import Progress, Refused, survey

IMAGENET_VAL = 50_000


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How often a network names the class of a picture.

    Attributes:
        pictures: Pictures counted.
        top1: Percent whose class got the largest logit.
        top5: Percent whose class was among the five largest.
        published: The paper's (top-1, top-5) on ImageNet-val for these weights, if they are its.
        refused: Pictures left out.
        by_class: (pictures, top-1 hits, top-5 hits) of each class folder, by its name.
        provenance: Weights, pictures, versions.
    """

    pictures: int
    top1: float
    top5: float
    published: tuple[float, float] | None
    refused: tuple[Refused, ...]
    by_class: dict[str, tuple[int, int, int]]
    provenance: dict[str, Any]

    def sentence(self) -> str:
        """Name the measured figures, and the published ones beside them."""
        measured = (
            f"Measured on {self.pictures} pictures: {self.top1:.3f}% top-1, {self.top5:.3f}% top-5."
        )
        if self.published is None:
            return f"{measured} There is no published figure for these weights."
        top1, top5 = self.published
        beside = f"{measured} Published on ImageNet-val: {top1:.3f}% top-1, {top5:.3f}% top-5."
        if self.pictures == IMAGENET_VAL:
            return beside
        return f"{beside} That was on {IMAGENET_VAL} pictures: these are others."

    def plain(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        top1, top5 = self.published or (None, None)
        return {
            "pictures": self.pictures,
            "refused": [vars(refused) for refused in self.refused],
            "top1_percent": self.top1,
            "top5_percent": self.top5,
            "published_top1_percent": top1,
            "published_top5_percent": top5,
            "by_class": {
                name: dict(zip(("pictures", "top1_hits", "top5_hits"), hits, strict=True))
                for name, hits in self.by_class.items()
            },
            "definitions": {
                "top1_percent": "pictures whose class got the largest logit, of all counted",
                "top5_percent": "pictures whose class was among the five largest logits",
                "published": "single crop 224 on ImageNet-val, from the authors' repository",
            },
            "provenance": self.provenance,
        }


def evaluate(
    model: nn.Module,
    folder: Folder,
    plan: Plan | None = None,
    out: Path | None = None,
    *,
    workers: int = 0,
    progress: Progress | None = None,
    begin: Callable[[int, int], None] | None = None,
) -> Evaluation | None:
    """Measure accuracy with the published preprocessing.

    Args:
        model: A classifier, on its device.
        folder: Class folders named by WordNet id or by class index.
        plan: How the network runs; must ask for accuracy.
        out: Folder for shards, to go on after an interruption; None keeps nothing.
        workers: Processes that prepare pictures.
        progress: As for `survey`.
        begin: As for `survey`.

    Returns:
        The accuracy; None in all processes but the first.

    Raises:
        ValueError: The folders' names are no classes, or no picture could be read.
    """
    plan = plan or Plan(accuracy=True)
    outcome = survey(model, folder, plan, out, workers=workers, progress=progress, begin=begin)
    if outcome is None:
        return None
    accuracy = outcome.tallies.accuracy
    assert accuracy is not None
    top1, top5 = accuracy.rates()
    return Evaluation(
        pictures=outcome.counted,
        top1=top1,
        top5=top5,
        published=_published(model),
        refused=outcome.refused,
        by_class=_by_class(folder, accuracy.hits),
        provenance=provenance(model, folder, outcome),
    )


def _by_class(folder: Folder, hits: Counts) -> dict[str, tuple[int, int, int]]:
    rows = hits.tolist()
    return {name: (row[0], row[1], row[2]) for name, row in zip(folder.classes, rows, strict=True)}


def _published(model: nn.Module) -> tuple[float, float] | None:
    card: Any = getattr(model, "card", None)
    if card is None or not card.published or card.top1 is None or card.top5 is None:
        return None
    return float(card.top1), float(card.top5)
