"""What the page's tabs share: the question, how listeners are set, scripts, pictures, downloads."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
import numpy.typing as npt

from sge_viz.render.figure_files import FORMATS
from sge_viz.ui.api import answering
from sge_viz.ui.components import PictureInput

HERE = Path(__file__).parent
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 2}
"""Listeners that may run the network share one place in the queue."""
LISTENER: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal", **MODEL}


class Question(NamedTuple):
    """What is asked: the picture, the weights, the layer and the input size."""

    picture: PictureInput
    checkpoint: gr.Dropdown
    layer: gr.Dropdown
    size: gr.Dropdown


class Look(NamedTuple):
    """How it is shown; the browser answers these alone."""

    colour_map: gr.Dropdown
    scale: gr.Radio


def template(name: str) -> str:
    """Read one of the page's HTML or CSS files."""
    return (HERE / name).read_text(encoding="utf-8")


def view(name: str, **tables: npt.NDArray[np.uint8]) -> gr.HTML:
    """A part of the page that the browser draws: its HTML file, its script, its colour tables."""
    return gr.HTML(
        html_template=template(f"{name}.html"),
        js_on_load=template("maps.js") + template(f"{name}.js"),
        apply_default_css=False,
        tables={key: base64.b64encode(table.tobytes()).decode() for key, table in tables.items()},
        elem_id=f"sge-{name}",
    )


def visible(name: str) -> str:
    """JavaScript that tells a listener by its first value whether element `name` is on show."""
    shown = f"Number(document.querySelector('#{name}').offsetParent !== null)"
    return f"(_, ...rest) => [{shown}, ...rest]"


def figure(name: str) -> gr.Image:
    """A picture of a figure, lossless, to look at closely or to save as it is."""
    return gr.Image(
        type="filepath",
        format="png",
        show_label=False,
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id=name,
        elem_classes="sge-figure",
    )


def download(label: str, name: str, draw: Callable[..., str], inputs: list[Any]) -> None:
    """A button that has a file made and then saves it, in one click."""
    button = gr.Button(label, size="sm", elem_id=f"sge-{name}")
    file = gr.DownloadButton(visible="hidden", elem_id=f"sge-{name}-file")
    made = button.click(answering(draw), inputs, file, **LISTENER)
    made.success(None, js=f"() => document.querySelector('#sge-{name}-file').click()")


def file_format() -> gr.Radio:
    """The kind of file to save a figure as."""
    return gr.Radio(
        list(FORMATS), value="png", show_label=False, container=False, elem_classes="sge-format"
    )
