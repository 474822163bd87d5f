"""Evidence as pictures: hands its arrays to render, and gives back a file's bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sge_viz.classes import class_name
from sge_viz.evidence.faithfulness import Faithfulness
from sge_viz.evidence.ledger import Ledger
from sge_viz.evidence.outcome import Outcome
from sge_viz.evidence.summary import Interval
from sge_viz.explain import Explanation
from sge_viz.render import evidence as figures
from sge_viz.render.figure_files import figure_bytes

MOST_CLASSES = 10
"""Classes in the chart of answers; more would not be read."""


def contributions(explanation: Explanation, book: Ledger, index: int, kind: str = "png") -> bytes:
    """Draw what every group adds to a class's logit, as a `kind` file (png, svg, pdf).

    Raises:
        UnknownClassError: The class is not in the ledger.
        ValueError: An unknown kind of file.
    """
    maps = book.evidence(index)
    row = book.classes.index(maps.label)
    figure = figures.contribution_chart(
        book.through_sge[0, :, row].numpy(),
        book.through_shortcut[0, :, row].numpy(),
        float(book.bias[row]),
        name=maps.label.name,
        layer=_layer(explanation, book),
        checkpoint=explanation.card.title,
    )
    return figure_bytes(figure, kind)


def evidence(
    explanation: Explanation,
    book: Ledger,
    index: int,
    groups: Sequence[int] | None = None,
    kind: str = "png",
) -> bytes:
    """Lay a class's evidence over what the network saw, as a `kind` file (png, svg, pdf).

    Args:
        explanation: Of the picture that was traced.
        book: Its ledger.
        index: The class.
        groups: Counted from 0; None means the six of the largest absolute contribution.
        kind: "png", "svg" or "pdf".

    Raises:
        UnknownClassError: The class is not in the ledger.
        ValueError: An unknown group or kind of file.
    """
    maps = book.evidence(index)
    if groups is None:
        sizes = maps.total[0].sum((1, 2)).abs()
        groups = sizes.topk(min(6, len(sizes))).indices.tolist()
    figure = figures.evidence_panels(
        explanation.input.view(),
        maps.total[0].numpy(),
        list(groups),
        name=maps.label.name,
        layer=_layer(explanation, book),
        checkpoint=explanation.card.title,
    )
    return figure_bytes(figure, kind)


def answers(explanation: Explanation, outcomes: Sequence[Outcome], kind: str = "png") -> bytes:
    """Draw the classes that are among the first five before or after, as a `kind` file.

    Raises:
        ValueError: No outcome, or an unknown kind of file.
    """
    if not outcomes:
        raise ValueError("There is nothing to draw: give at least one intervention.")
    before = outcomes[0].before
    rows = [before.top5[0], *(outcome.after.top5[0] for outcome in outcomes)]
    indices = list(dict.fromkeys(one.index for row in rows for one in row))[:MOST_CLASSES]
    count = before.logits.shape[1]
    figure = figures.answer_chart(
        [class_name(index, count) for index in indices],
        before.probabilities[0, indices].numpy(),
        {outcome.what: outcome.after.probabilities[0, indices].numpy() for outcome in outcomes},
        checkpoint=explanation.card.title,
    )
    return figure_bytes(figure, kind)


def curves(
    results: Mapping[str, Faithfulness], name: str, checkpoint: str, kind: str = "png"
) -> bytes:
    """Draw every map's deletion, insertion and ROAD curves, as a `kind` file.

    Args:
        results: By map, from `faithfulness`.
        name: The class.
        checkpoint: The weights' title.
        kind: "png", "svg" or "pdf".
    """
    panels: dict[str, dict[str, tuple[Sequence[float], Sequence[float], float]]] = {
        "deletion (small area is good)": {},
        "insertion (large area is good)": {},
        "ROAD (large is good)": {},
    }
    deletion, insertion, road = panels.values()
    for text, one in results.items():
        for panel, curve in ((deletion, one.deletion), (insertion, one.insertion)):
            panel[text] = (curve.fractions, curve.probabilities, curve.auc)
        least, most = one.least_relevant_first, one.most_relevant_first
        halves = np.subtract(least.probabilities, most.probabilities) / 2
        road[text] = (least.fractions, halves.tolist(), one.road)
    figure = figures.faithfulness_chart(panels, name=name, checkpoint=checkpoint)
    return figure_bytes(figure, kind)


def summary(
    table: Mapping[str, Mapping[str, Interval]], checkpoint: str, kind: str = "png"
) -> bytes:
    """Draw means over many pictures with their intervals, as a `kind` file.

    Args:
        table: From `summarise`.
        checkpoint: The weights' title.
        kind: "png", "svg" or "pdf".
    """
    some = next(iter(next(iter(table.values())).values()))
    headings = {
        "deletion": "deletion (small is good)",
        "insertion": "insertion (large is good)",
        "road": "ROAD (large is good)",
    }
    panels = {
        heading: {
            name: (one.mean, one.low, one.high)
            for name, measures in table.items()
            for one in [measures[measure]]
        }
        for measure, heading in headings.items()
    }
    what = f"mean and {some.confidence:.0%} interval over {some.pictures} pictures"
    figure = figures.interval_chart(panels, what=what, checkpoint=checkpoint)
    return figure_bytes(figure, kind)


def _layer(explanation: Explanation, book: Ledger) -> str:
    height, width = book.evidence().total.shape[2:]
    return explanation.layers[book.layer].title(height, width)
