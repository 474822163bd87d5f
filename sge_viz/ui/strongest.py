"""The Strongest pictures tab: an index of pictures, group by group."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from sge_viz.render.colour import colour_table
from sge_viz.selection import parse_group
from sge_viz.statistics.index import Hit, Index
from sge_viz.ui import texts
from sge_viz.ui.components import RawNumber
from sge_viz.ui.handlers import REFUSED
from sge_viz.ui.parts import LISTENER, view, visible
from sge_viz.ui.payload import packed

BUNDLED = Path(__file__).parents[2] / "assets" / "index.npz"
"""The index over the example pictures, for the bundled weights."""


class StrongestHandlers:
    """The tab's listeners, around one index."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def tiles(self, is_visible: object, layer: str, ranking: str) -> tuple[Any, str]:
        """Show every group's strongest picture, and group 0's pictures."""
        return self._answer(is_visible, layer, ranking, 0, whole=True)

    def hits(self, is_visible: object, layer: str, ranking: str, group: object) -> tuple[Any, str]:
        """Show one group's strongest pictures; the tiles stay."""
        return self._answer(is_visible, layer, ranking, group, whole=False)

    def _answer(
        self, is_visible: object, layer: str, ranking: str, group: object, whole: bool
    ) -> tuple[Any, str]:
        if not is_visible:
            return gr.skip(), gr.skip()
        try:
            chosen = parse_group(group, self._index.groups(layer))
            hits = self._index.strongest(layer, chosen, ranking)
            preferred = self._index.preferred_classes(layer, chosen, ranking)
            tiles = self._index.tiles(layer, ranking) if whole else None
        except REFUSED as error:
            return gr.skip(), texts.refusal(str(error))
        value = {
            "title": f"{self._index.layers[layer].title}, by {texts.RANKINGS[ranking]}",
            "ranking": f"by {texts.RANKINGS[ranking]}",
            "group": chosen,
            "tiles": tiles and [_shown(hit) for hit in tiles],
            "hits": [_shown(hit) | _maps(hit) for hit in hits],
            "classes": [f"{one.name} ({one.lift:+.2f} sd)" for one in preferred],
        }
        return value, ""


def _shown(hit: Hit) -> dict[str, Any]:
    url = ""
    if hit.thumbnail is not None:
        url = "data:image/jpeg;base64," + base64.b64encode(hit.thumbnail).decode()
    row, column = hit.cell
    return {
        "name": hit.path,
        "className": hit.class_name,
        "score": hit.score,
        "place": f"row {row}, column {column}",
        "box": hit.box,
        "url": url,
    }


def _maps(hit: Hit) -> dict[str, Any]:
    """Pack a picture's maps on one scale for before and after, where the index has them."""
    before, after = hit.before, hit.after
    if before is None or after is None:
        return {}
    both = np.concatenate([before, after])
    return {
        "before": packed(before),
        "after": packed(after),
        "limits": [float(both.min()), float(both.max())],
        "height": before.shape[0],
        "width": before.shape[1],
    }


def add_strongest(index: Index, tab: gr.Tab) -> None:
    """Lay out the tab over `index`."""
    handlers = StrongestHandlers(index)
    gr.Markdown(texts.strongest(index))
    with gr.Row():
        layers = [(of.title, path) for path, of in index.layers.items()]
        layer = gr.Dropdown(layers, value=layers[0][1], label="Layer", elem_id="sge-index-layer")
        ranking = gr.Dropdown(
            [(text, name) for name, text in texts.RANKINGS.items()],
            value="after",
            label="Strongest by",
            elem_id="sge-ranking",
        )
    refused = gr.HTML(elem_classes="sge-status")
    pictures = view("strongest", norms=colour_table())
    is_visible = RawNumber(0, visible="hidden")
    group = RawNumber(0, visible="hidden")
    outputs = [pictures, refused]
    for event in (tab.select, layer.input, ranking.input):
        shown = [is_visible, layer, ranking]
        event(handlers.tiles, shown, outputs, js=visible("sge-strongest"), **LISTENER)
    pictures.select(
        handlers.hits,
        [is_visible, layer, ranking, group],
        outputs,
        js="(_, layer, ranking) => [1, layer, ranking, window.sgeStrongest.group]",
        **LISTENER,
    )
