"""Evidence as JSON: numbers with the words that say what they are and are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from sge_viz.evidence.ablations import Ablations
from sge_viz.evidence.faithfulness import Faithfulness
from sge_viz.evidence.gradients import ApproximateEvidence
from sge_viz.evidence.ledger import Ledger
from sge_viz.evidence.outcome import Answer, Outcome
from sge_viz.evidence.saliency import DESCRIPTIONS, Saliency
from sge_viz.evidence.summary import Interval

EXACT = (
    "exact: bias plus all contributions is the logit, up to the network's own rounding; where the "
    "last ReLU is active, what came through SGE and through the shortcut are each credited with "
    "themselves, where it is not, both with 0"
)
APPROXIMATE = (
    "approximation: gradient x activation; need not add up to the logit, and is not what taking "
    "the group away does"
)
MEASURED = "measured: the network's answer with one group replaced, the others as they are"


def ledger_report(book: Ledger) -> dict[str, Any]:
    """Tell a ledger of one picture: every class's logit, and every group's part in it."""
    classes = []
    for row, label in enumerate(book.classes):
        columns = {
            "contribution": book.contributions[0, :, row],
            "through_sge": book.through_sge[0, :, row],
            "through_shortcut": book.through_shortcut[0, :, row],
        }
        classes.append(
            asdict(label)
            | {
                "logit": float(book.logits[0, row]),
                "bias": float(book.bias[row]),
                "bias_plus_contributions": float(book.total[0, row]),
                "groups": _by_group(range(book.contributions.shape[1]), columns),
            }
        )
    return {"what": EXACT, "layer": book.layer, "classes": classes}


def approximation_report(evidence: ApproximateEvidence) -> dict[str, Any]:
    """Tell gradient x activation of one picture, and that it is an approximation."""
    groups = range(evidence.contributions.shape[1])
    classes = [
        asdict(label)
        | {"groups": _by_group(groups, {"approximation": evidence.contributions[0, :, row]})}
        for row, label in enumerate(evidence.classes)
    ]
    return {"what": APPROXIMATE, "layer": evidence.layer, "classes": classes}


def outcome_report(outcome: Outcome, indices: Sequence[int]) -> dict[str, Any]:
    """Tell the answer of one picture before and after, for some classes and the top 5."""
    return {
        "what": outcome.what,
        "before": _answer(outcome.before, indices),
        "after": _answer(outcome.after, indices),
    }


def ablations_report(ablations: Ablations, indices: Sequence[int]) -> dict[str, Any]:
    """Tell what some classes of one picture lose without each group."""
    classes = [
        {
            "index": index,
            "groups": _by_group(
                ablations.groups,
                {
                    "logit_drop": ablations.logit_drop[0, :, index],
                    "probability_drop": ablations.probability_drop[0, :, index],
                },
            ),
        }
        for index in indices
    ]
    return {
        "what": MEASURED,
        "layer": ablations.layer,
        "replacement": str(ablations.replacement),
        "classes": classes,
    }


def faithfulness_report(found: Saliency, results: Mapping[str, Faithfulness]) -> dict[str, Any]:
    """Tell how faithful one picture's maps are: areas, score and curves."""
    maps = {
        name: {"what": DESCRIPTIONS[name], **one.measures, "curves": asdict(one)}
        for name, one in results.items()
    }
    return {"class": asdict(found.label), "layer": found.layer, "group": found.group, "maps": maps}


def summary_report(table: Mapping[str, Mapping[str, Interval]]) -> dict[str, Any]:
    """Tell the means over many pictures with their confidence intervals."""
    return {
        name: {measure: asdict(one) for measure, one in measures.items()}
        for name, measures in table.items()
    }


def _by_group(groups: Sequence[int], columns: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    values = {name: column.tolist() for name, column in columns.items()}
    return [
        {"group": group, **{name: column[row] for name, column in values.items()}}
        for row, group in enumerate(groups)
    ]


def _answer(answer: Answer, indices: Sequence[int]) -> dict[str, Any]:
    return {
        "top5": [asdict(prediction) for prediction in answer.top5[0]],
        "classes": [
            {
                "index": index,
                "logit": float(answer.logits[0, index]),
                "probability": float(answer.probabilities[0, index]),
            }
            for index in indices
        ],
    }
