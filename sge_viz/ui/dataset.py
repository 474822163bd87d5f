"""The Data set tab: the paper's Figures 3 and 4 and the audit of its claims, from a `stats` run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from sge_viz.render.figure_files import figure_bytes
from sge_viz.selection import parse_group
from sge_viz.statistics.audit_report import audit_text
from sge_viz.statistics.figures import figure3_of, figure4_of
from sge_viz.statistics.result import Result
from sge_viz.ui import texts
from sge_viz.ui.components import RawNumber
from sge_viz.ui.handlers import REFUSED, save
from sge_viz.ui.parts import LISTENER, download, figure, file_format

BUNDLED = Path(__file__).parents[2] / "assets" / "result.npz"
"""A run over 3,200 validation pictures of Imagenette and Imagewoof with the bundled weights."""


class DatasetHandlers:
    """The tab's listeners, around one result."""

    def __init__(self, result: Result) -> None:
        self._result = result

    def show(self, layer: str, which: str, group: object, quantity: str) -> tuple[Any, ...]:
        """Draw Figures 3 and 4 of a layer, and check the paper's claims on it."""
        try:
            third = self.figure3(layer, which, group, "png")
            fourth = self.figure4(layer, quantity, "png")
            return third, fourth, self._audit(layer), ""
        except REFUSED as error:
            return gr.skip(), gr.skip(), gr.skip(), texts.refusal(str(error))

    def figure3(self, layer: str, which: str, group: object, kind: str) -> str:
        """Draw the histogram of norms over the data set, of all groups or of one."""
        groups = self._result.layer(layer)[1].groups
        index = parse_group(group, groups) if which == "one" else None
        suffix = "" if index is None else f"_group{index}"
        drawn = figure3_of(self._result, layer, index)
        return save(figure_bytes(drawn, kind), f"figure3_{layer}{suffix}.{kind}")

    def figure4(self, layer: str, quantity: str, kind: str) -> str:
        """Draw every group's activation spread before and after SGE."""
        drawn = figure4_of(self._result, layer, quantity)
        return save(figure_bytes(drawn, kind), f"figure4_{layer}_{quantity}.{kind}")

    def _audit(self, layer: str) -> str:
        try:
            return audit_text(self._result, [layer])
        except ValueError as error:  # a run without the controls has no audit
            return str(error)


def add_dataset(result: Result, tab: gr.Tab) -> None:
    """Lay out the tab over `result`."""
    gr.Markdown(texts.dataset(result))
    handlers = DatasetHandlers(result)
    with gr.Row():
        titles = [(result.title(layer), layer) for layer in result.layers]
        layer = gr.Dropdown(titles, value=titles[-1][1], label="Layer", elem_id="sge-stats-layer")
        which = gr.Radio(texts.WHICH_CHOICES, value="all", label="Figure 3: norms of")
        group = RawNumber(0, label="Group", minimum=0, step=1)
        quantity = gr.Radio(["variance", "std"], value="variance", label="Figure 4: activation")
    refused = gr.HTML(elem_classes="sge-status")
    third, fourth = figure("sge-figure3"), figure("sge-figure4")
    with gr.Row(elem_classes="sge-downloads"):
        kind = file_format()
        download("Save Figure 3", "figure3-save", handlers.figure3, [layer, which, group, kind])
        download("Save Figure 4", "figure4-save", handlers.figure4, [layer, quantity, kind])
    checked = gr.Markdown(elem_id="sge-audit")
    gr.on(
        [tab.select, layer.input, which.input, group.change, quantity.input],
        handlers.show,
        [layer, which, group, quantity],
        [third, fourth, checked, refused],
        trigger_mode="always_last",
        **LISTENER,
    )
