"""The Compare tab: two networks on one picture, group beside group."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import gradio as gr

from sge_viz.checkpoints import available
from sge_viz.explain import Explanation
from sge_viz.matching import Matches, match_groups
from sge_viz.render.colour import colour_table
from sge_viz.ui import texts
from sge_viz.ui.components import RawNumber
from sge_viz.ui.handlers import REFUSED
from sge_viz.ui.parts import LISTENER, Question, view, visible
from sge_viz.ui.payload import explorer_value
from sge_viz.ui.studio import Source, Studio


class CompareHandlers:
    """The tab's listeners, around the page's studio."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._matches: dict[tuple[str, ...], Matches] = {}

    def show(
        self,
        is_visible: object,
        picture: Source,
        checkpoint: str,
        layer: str,
        size: str,
        other: str | None,
    ) -> tuple[Any, str]:
        """Put the layer of the first network beside its counterpart in the second."""
        if not is_visible:
            return gr.skip(), gr.skip()
        if other is None:
            return None, texts.refusal(texts.NO_OTHER_WEIGHTS)
        try:
            first = self._studio.explain(picture, checkpoint, size)
            second = self._studio.explain(picture, other, size)
            first.chosen(layer)
            beside = counterpart(first, layer, second)
            matches = self._matched(checkpoint, layer, other, beside)
        except REFUSED as error:
            return gr.skip(), texts.refusal(str(error))
        left, right = explorer_value(first, layer), explorer_value(second, beside)
        value = {
            "picture": left["picture"],
            "first": _side(first, left),
            "second": _side(second, right),
            "matches": [{"group": g, "correlation": c} for g, c in matches.best()],
            "matchedOver": f"the {matches.pictures} example pictures",
        }
        return value, ""

    def menu(self, checkpoint: str) -> Any:
        """Offer every other set of weights that is here."""
        choices = [(entry.title, entry.name) for entry in available() if entry.name != checkpoint]
        return gr.update(choices=choices, value=choices[0][1] if choices else None)

    def _matched(self, checkpoint: str, layer: str, other: str, beside: str) -> Matches:
        """Match the layers' groups over the example pictures, once."""
        key = (checkpoint, layer, other, beside)
        if key not in self._matches:

            def maps(path: str, weights: str, chosen: str) -> Any:
                return self._studio.explain(path, weights, "published").chosen(chosen)

            self._matches[key] = match_groups(
                (maps(path, checkpoint, layer), maps(path, other, beside))
                for path in texts.example_paths()
            )
        return self._matches[key]


def counterpart(first: Explanation, layer: str, second: Explanation) -> str:
    """Give the second network's block of the same path, or else the last one of that stage."""
    if layer in second.maps:
        return layer
    stage = first.layers[layer].stage
    return [path for path, found in second.layers.items() if found.stage == stage][-1]


def _side(explanation: Explanation, value: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": explanation.card.title,
        "layer": value["layer"]["title"],
        "maps": value["maps"],
    }


def add_compare(
    studio: Studio, question: Question, tab: gr.Tab
) -> Callable[[Iterable[Callable[..., Any]]], None]:
    """Lay out the tab; returns what makes events redraw it while it is open."""
    handlers = CompareHandlers(studio)
    gr.Markdown(texts.COMPARE)
    other = gr.Dropdown([], label="The other weights", elem_id="sge-other")
    refused = gr.HTML(elem_classes="sge-status")
    compared = view("compare", norms=colour_table())
    is_visible = RawNumber(0, visible="hidden")
    inputs = [is_visible, *question, other]

    def redraw(events: Iterable[Callable[..., Any]]) -> None:
        for event in events:
            event(
                handlers.show,
                inputs,
                [compared, refused],
                js=visible("sge-compare"),
                trigger_mode="always_last",
                **LISTENER,
            )

    opened = tab.select(handlers.menu, question.checkpoint, other, **LISTENER)
    redraw([opened.then, other.input])
    changed = question.checkpoint.input(handlers.menu, question.checkpoint, other, **LISTENER)
    redraw([changed.then])
    return redraw
