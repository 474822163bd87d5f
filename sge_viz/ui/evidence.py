"""The Evidence tab: what every group adds to a class, and the answer without it."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from typing import Any

import gradio as gr
from torch import nn

from sge_viz import draw_evidence
from sge_viz.classes import IMAGENET_CLASSES, class_name
from sge_viz.evidence.faithfulness import Faithfulness, faithfulness
from sge_viz.evidence.interventions import (
    OFF,
    ZEROED,
    Intervention,
    Mean,
    Replacement,
    Shuffled,
)
from sge_viz.evidence.ledger import ledger
from sge_viz.evidence.outcome import Outcome, what_if
from sge_viz.evidence.saliency import saliency
from sge_viz.evidence.trace import Trace
from sge_viz.explain import Explanation
from sge_viz.render.colour import signed_table
from sge_viz.selection import parse_group
from sge_viz.ui import texts
from sge_viz.ui.components import RawNumber
from sge_viz.ui.handlers import REFUSED, save
from sge_viz.ui.parts import LISTENER, Question, figure, view, visible
from sge_viz.ui.payload import evidence_value
from sge_viz.ui.studio import Source, Studio

FIRST_CHOICE = "first"
CHOSEN_BAR = """(group, layer) => {
  const { chosen, value } = window.sgeEvidence;
  return chosen !== null && value.layer.startsWith(`${layer}:`) ? chosen : group;
}"""
REPLACEMENTS: dict[str, Replacement] = {
    "off": OFF,
    "mean": Mean(),
    "shuffled": Shuffled(),
    "zeroed": ZEROED,
}


class EvidenceHandlers:
    """The tab's listeners, around the page's studio."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def show(
        self, is_visible: object, picture: Source, checkpoint: str, size: str, chosen: str
    ) -> tuple[Any, Any, Any]:
        """Book the chosen class: the bars and maps, the menu of classes, what was refused."""
        if not is_visible:
            return gr.skip(), gr.skip(), gr.skip()
        try:
            explanation = self._studio.explain(picture, checkpoint, size)
            index = None if chosen == FIRST_CHOICE else int(chosen)
            booked = self._studio.consult(
                picture, checkpoint, size, lambda model, passed: ledger(model, passed, index)
            )
        except REFUSED as error:
            return gr.skip(), gr.skip(), texts.refusal(str(error))
        menu = gr.update(choices=_classes(explanation))
        value = evidence_value(explanation, booked)
        probabilities = booked_probability(self._studio, picture, checkpoint, size, value["index"])
        return value | {"probability": probabilities}, menu, ""

    def intervene(
        self,
        is_visible: object,
        picture: Source,
        checkpoint: str,
        layer: str,
        size: str,
        kind: str,
        where: str,
        group: object,
    ) -> Any:
        """Answer how the top classes change under an intervention, as an HTML table."""
        if not is_visible:
            return gr.skip()
        try:
            explanation = self._studio.explain(picture, checkpoint, size)
            groups = explanation.chosen(layer).before.shape[1]
            chosen = _intervention(kind, where, layer, parse_group(group, groups))

            def ask(model: nn.Module, passed: Trace) -> Outcome:
                return what_if(model, passed, *chosen)

            outcome = self._studio.consult(picture, checkpoint, size, ask)
        except REFUSED as error:
            return texts.refusal(str(error))
        done = "; ".join(str(one) for one in chosen) or "Nothing is changed"
        return _table(outcome, done, explanation.layer_title(layer))

    def faithfulness(
        self,
        picture: Source,
        checkpoint: str,
        layer: str,
        size: str,
        chosen: str,
        group: object,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio finds it)
    ) -> tuple[Any, str]:
        """Measure whether maps of this group and this class point at what the answer needs.

        It takes about 3 s a map, so other visitors' questions are answered meanwhile.
        """
        try:
            explanation = self._studio.explain(picture, checkpoint, size)
            index = explanation.predictions[0].index if chosen == FIRST_CHOICE else int(chosen)
            model, passed = self._studio.consult(
                picture, checkpoint, size, lambda model, passed: (model, passed)
            )
            groups = explanation.chosen(layer).before.shape[1]
            maps = saliency(model, passed.input, layer, parse_group(group, groups), index).maps
            results: dict[str, Faithfulness] = {}
            for name, one in progress.tqdm(maps.items(), unit="map"):
                results |= faithfulness(model, passed.input, {name: one}, index, steps=12)
        except REFUSED as error:
            return gr.skip(), texts.refusal(str(error))
        name = class_name(index, passed.logits.shape[1])
        drawn = draw_evidence.curves(results, name, explanation.card.title)
        return save(drawn, f"faithfulness_{layer}.png"), ""


def booked_probability(
    studio: Studio, picture: Source, checkpoint: str, size: str, index: int
) -> float:
    """Give the softmax of class `index` in the kept pass."""

    def ask(_: nn.Module, passed: Trace) -> float:
        return float(passed.logits[0].float().softmax(0)[index])

    return studio.consult(picture, checkpoint, size, ask)


def _intervention(kind: str, where: str, layer: str, group: int) -> tuple[Intervention, ...]:
    if kind == "none":
        return ()
    if kind not in REPLACEMENTS:
        raise ValueError(f"{kind!r} is no intervention: choose one of {', '.join(REPLACEMENTS)}.")
    layers = None if where == "everywhere" else layer
    groups = group if where == "group" else None
    return (Intervention(REPLACEMENTS[kind], layers, groups),)


def _classes(explanation: Explanation) -> list[tuple[str, str]]:
    """List the network's five first choices, then all classes by name."""
    best = explanation.predictions
    choices = [("the network's first choice", FIRST_CHOICE)]
    choices += [(f"{one.label} ({one.probability:.1%})", str(one.index)) for one in best]
    if explanation.card.classes == len(IMAGENET_CLASSES):
        shown = {one.index for one in best}
        rest = sorted(set(range(len(IMAGENET_CLASSES))) - shown, key=IMAGENET_CLASSES.__getitem__)
        choices += [(IMAGENET_CLASSES[index], str(index)) for index in rest]
    return choices


def _table(outcome: Outcome, done: str, layer: str) -> str:
    """Show the top classes before and after, those of either list."""
    before, after = outcome.before, outcome.after
    named = {one.index: one.label for one in (*before.top5[0], *after.top5[0])}
    rows = []
    for index, label in named.items():
        p, q = float(before.probabilities[0, index]), float(after.probabilities[0, index])
        x, y = float(before.logits[0, index]), float(after.logits[0, index])
        cells = (f"{p:.1%}", f"{q:.1%}", f"{100 * (q - p):+.1f}", f"{x:.2f}", f"{y:.2f}")
        rows.append(
            f"<tr><td>{html.escape(label)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        )
    head = ("class", "before", "after", "points", "logit before", "after")
    return (
        f'<section class="sge"><p class="sge-help"><b>{html.escape(done)}</b> '
        f"({html.escape(layer)})</p>"
        f'<table class="sge-answers"><tr>{"".join(f"<th>{name}</th>" for name in head)}</tr>'
        f"{''.join(rows)}</table></section>"
    )


def add_evidence(
    studio: Studio, question: Question, tab: gr.Tab
) -> Callable[[Iterable[Callable[..., Any]]], None]:
    """Lay out the tab; returns what makes events redraw it while it is open."""
    handlers = EvidenceHandlers(studio)
    gr.Markdown(texts.EVIDENCE)
    chosen = gr.Dropdown(
        [("the network's first choice", FIRST_CHOICE)],
        value=FIRST_CHOICE,
        label="Class (type to search)",
        elem_id="sge-class",
    )
    refused = gr.HTML(elem_classes="sge-status")
    ledger_view = view("evidence", signed=signed_table())
    gr.Markdown(texts.INTERVENTIONS)
    with gr.Row():
        kind = gr.Radio(
            texts.INTERVENTION_CHOICES, value="none", label="The gate", elem_id="sge-intervention"
        )
        where = gr.Radio(texts.WHERE_CHOICES, value="layer", label="Where", elem_id="sge-where")
        group = RawNumber(
            0,
            label="Group of the layer on the left",
            minimum=0,
            step=1,
            elem_id="sge-evidence-group",
        )
    answers = gr.HTML(elem_id="sge-answers")
    is_visible = RawNumber(0, visible="hidden")
    picture, checkpoint, layer, size = question

    def redraw(events: Iterable[Callable[..., Any]]) -> None:
        for event in events:
            event(
                handlers.show,
                [is_visible, picture, checkpoint, size, chosen],
                [ledger_view, chosen, refused],
                js=visible("sge-evidence"),
                trigger_mode="always_last",
                **LISTENER,
            )
            event(
                handlers.intervene,
                [is_visible, picture, checkpoint, layer, size, kind, where, group],
                answers,
                js=visible("sge-evidence"),
                trigger_mode="always_last",
                **LISTENER,
            )

    redraw([tab.select])
    chosen.input(
        handlers.show,
        [is_visible, picture, checkpoint, size, chosen],
        [ledger_view, chosen, refused],
        js=visible("sge-evidence"),
        trigger_mode="always_last",
        **LISTENER,
    )
    gr.on(
        [kind.input, where.input, group.change],
        handlers.intervene,
        [is_visible, picture, checkpoint, layer, size, kind, where, group],
        answers,
        js=visible("sge-evidence"),
        trigger_mode="always_last",  # an earlier answer must not come to stand for a later question
        **LISTENER,
    )
    ledger_view.select(None, [group, layer], group, js=CHOSEN_BAR)
    gr.Markdown(texts.FAITHFULNESS)
    measure = gr.Button(
        "Measure this group's maps (half a minute)", size="sm", elem_id="sge-measure"
    )
    unmeasured = gr.HTML(elem_classes="sge-status")
    curves = figure("sge-faithfulness")
    slow = {"show_progress": "full", "concurrency_id": "slow", "concurrency_limit": 1}
    measure.click(
        handlers.faithfulness,
        [picture, checkpoint, layer, size, chosen, group],
        [curves, unmeasured],
        show_progress_on=curves,
        **(LISTENER | slow),
    )
    return redraw
