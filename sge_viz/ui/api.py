"""The page's functions as endpoints with readable names, for gradio_client and curl."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from sge_viz.checkpoints import available
from sge_viz.render.colour import COLOUR_MAPS, SCALES
from sge_viz.render.figure_files import FORMATS
from sge_viz.resnet import DEFAULT_LAYER
from sge_viz.ui.components import PictureInput, RawNumber, Word
from sge_viz.ui.handlers import REFUSED, Handlers


def add_endpoints(handlers: Handlers) -> None:
    """Give the page being built its public endpoints; they show nothing."""
    with gr.Group(visible=False):
        picture = PictureInput(type="filepath", image_mode=None, label="picture file")
        pictures = gr.File(file_count="multiple", type="filepath", label="picture files")
        checkpoint = Word(available()[0].name, label="a name from /checkpoints")
        layer = Word(DEFAULT_LAYER, label="module path of a layer, from /layers")
        size = Word("published", label='"published", or 224 to 896 for the whole picture')
        group = RawNumber(17, label="a group, counted from 0")
        groups = Word("17, 21, 40", label="groups, counted from 0, with commas")
        colour_map = gr.Dropdown(list(COLOUR_MAPS), value=COLOUR_MAPS[0], label="colour map")
        scale = gr.Dropdown(list(SCALES), value=SCALES[0], label="colour scale")
        which = gr.Dropdown(["all", "one"], value="all", label="all groups of the layer, or one")
        logarithmic = gr.Checkbox(False, label="logarithmic counts")
        kind = gr.Dropdown(list(FORMATS), value=FORMATS[0], label="kind of file")
        question = [picture, checkpoint, layer, size]
        look = [colour_map, scale]
        file, data = gr.File(label="file"), gr.JSON(label="answer")
        _endpoint("checkpoints", handlers.checkpoints, [], data)
        _endpoint("layers", handlers.layers, [picture, checkpoint, size], data)
        _endpoint("explain", handlers.explain, question, data)
        _endpoint("group_maps", handlers.group_maps, [*question, group], data)
        _endpoint("groups_grid", handlers.grid_file, [*question, *look], file)
        _endpoint("group_figure", handlers.group_file, [*question, group, *look, kind], file)
        _endpoint(
            "histogram", handlers.histogram_file, [*question, which, group, logarithmic, kind], file
        )
        _endpoint(
            "figure2",
            handlers.figure2_file,
            [pictures, checkpoint, layer, size, groups, *look, kind],
            file,
        )
        _endpoint("arrays", handlers.arrays_file, question, file)


def _endpoint(name: str, function: Callable[..., Any], inputs: Sequence[Any], output: Any) -> None:
    gr.Button(visible=False).click(
        answering(function),
        list(inputs),
        output,
        api_name=name,
        api_description=function.__doc__,
        concurrency_id="model",
        concurrency_limit=2,
        show_progress="hidden",
    )


def answering(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a client read the sentence with which `function` refuses a question."""

    @functools.wraps(function)
    def wrapper(*values: Any, **named: Any) -> Any:
        try:
            return function(*values, **named)
        except REFUSED as error:
            raise gr.Error(str(error), title="Not taken", print_exception=False) from error

    return wrapper
