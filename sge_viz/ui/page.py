"""The page: what stands where, and which change calls what."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from sge_viz.checkpoints import available
from sge_viz.render.colour import COLOUR_MAPS, colour_table
from sge_viz.resnet import DEFAULT_LAYER
from sge_viz.statistics.index import Index
from sge_viz.statistics.result import Result
from sge_viz.ui import texts
from sge_viz.ui.api import add_endpoints
from sge_viz.ui.compare import add_compare
from sge_viz.ui.components import PictureInput, RawNumber
from sge_viz.ui.dataset import BUNDLED as BUNDLED_RESULT
from sge_viz.ui.dataset import add_dataset
from sge_viz.ui.evidence import add_evidence
from sge_viz.ui.handlers import Handlers
from sge_viz.ui.parts import (
    LISTENER,
    Look,
    Question,
    download,
    figure,
    file_format,
    template,
    view,
    visible,
)
from sge_viz.ui.strongest import BUNDLED, add_strongest
from sge_viz.ui.studio import Studio

NAME_EXAMPLES = """() => document.querySelectorAll("#sge-examples button").forEach((button) => {
  const file = button.querySelector("img")?.src.split("/").pop();
  if (file) button.setAttribute("aria-label", `Example: ${file.replace(/\\.[a-z]+$/, "")}`);
})"""
SET = "(value) => {{ window.sgeViz.set('{}', value) }}"


def build_page(
    studio: Studio | None = None, index: Path | None = None, stats: Path | None = None
) -> gr.Blocks:
    """Lay out the page; nothing runs before `launch`.

    Args:
        studio: What explains pictures; a new one by default.
        index: An index of strongest pictures; the one over the examples by default.
        stats: A result of `stats`, file or folder; the bundled run by default.

    Raises:
        BadIndex: The file is no index.
        BadResult: The file is no result.
    """
    opened, measured = Index.load(index or BUNDLED), Result.load(stats or BUNDLED_RESULT)
    studio = studio or Studio()
    handlers = Handlers(studio)
    tables = {name: colour_table(name) for name in COLOUR_MAPS}
    page = gr.Blocks(title=texts.TITLE, analytics_enabled=False, delete_cache=(3600, 24 * 3600))
    with page:
        gr.Markdown(texts.HEAD, elem_classes="sge-head")
        with gr.Row():
            with gr.Column(scale=3, min_width=310, elem_classes="sge-question"):
                question, look = _question(), _look()
            with gr.Column(scale=11, min_width=320):
                status = gr.HTML(elem_classes="sge-status")
                refused = gr.HTML(elem_classes="sge-status", elem_id="sge-refused")
                with gr.Tabs():
                    with gr.Tab("Groups"):
                        explorer = view("explorer", **tables)
                        group = RawNumber(0, visible="hidden", elem_id="sge-group")
                        _group_downloads(handlers, question, look, group)
                    with gr.Tab("Evidence") as tab:
                        redraw_evidence = add_evidence(studio, question, tab)
                    with gr.Tab("Compare") as tab:
                        redraw_comparison = add_compare(studio, question, tab)
                    with gr.Tab("Strongest pictures") as tab:
                        add_strongest(opened, tab)
                    with gr.Tab("Data set") as tab:
                        add_dataset(measured, tab)
                    with gr.Tab("Histogram") as tab:
                        redraw = _histogram(handlers, question, group, tab)
                    with gr.Tab("Figure 2"):
                        _figure2(handlers, question, look)
                    with gr.Tab("How to read this"):
                        gr.Markdown(texts.ABOUT)
        changes = [question.picture.change, *(menu.input for menu in question[1:])]
        shown = gr.on(
            [page.load, *changes],
            handlers.show,
            list(question),
            [explorer, status, refused, question.layer],
            trigger_mode="always_last",
            **LISTENER,
        )
        redraw(shown.then)
        redraw_evidence([shown.then])
        redraw_comparison([shown.then])
        page.load(handlers.menu, None, question.checkpoint, **LISTENER)
        shown.then(None, js=NAME_EXAMPLES)  # they stand there by then
        look.colour_map.input(None, look.colour_map, js=SET.format("colourMap"))
        look.scale.input(None, look.scale, js=SET.format("scale"))
        explorer.select(None, None, group, js="() => window.sgeViz.state.group")
        add_endpoints(handlers)
    page.queue(max_size=32, api_open=False, default_concurrency_limit=8)
    return page


def launch(page: gr.Blocks, **options: Any) -> Any:
    """Serve `page` with the limits that a public page needs; `options` go to Gradio's launch."""
    settings: dict[str, Any] = {
        # Fonts of the reader's machine: nothing is fetched from elsewhere.
        "theme": gr.themes.Default(
            primary_hue="teal",
            font=["system-ui", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"],
            font_mono=["ui-monospace", "Consolas", "monospace"],
        ),
        "css": template("page.css"),
        "max_file_size": "10mb",
        "enable_monitoring": False,
        "ssr_mode": False,
        "footer_links": ["api", "gradio"],
    }
    return page.launch(**(settings | options))


def _question() -> Question:
    examples = texts.example_paths()
    picture = PictureInput(
        value=examples[0],
        label="Picture",
        sources=["upload", "clipboard", "webcam"],
        type="filepath",
        image_mode=None,
        format="png",
        height=240,
        buttons=[],
        elem_id="sge-picture",
    )
    gr.Examples(examples, picture, label="Examples", examples_per_page=12, elem_id="sge-examples")
    entries = available()
    return Question(
        picture,
        gr.Dropdown(
            [(entry.title, entry.name) for entry in entries],
            value=entries[0].name,
            label="Weights",
            elem_id="sge-checkpoint",
        ),
        gr.Dropdown([DEFAULT_LAYER], value=DEFAULT_LAYER, label="Layer", elem_id="sge-layer"),
        gr.Dropdown(texts.SIZE_CHOICES, value="published", label="Input size", elem_id="sge-size"),
    )


def _look() -> Look:
    return Look(
        gr.Dropdown(
            list(COLOUR_MAPS), value=COLOUR_MAPS[0], label="Colour map", elem_id="sge-colours"
        ),
        gr.Radio(texts.SCALE_CHOICES, value="shared", label="Colour scale", elem_id="sge-scale"),
    )


def _group_downloads(handlers: Handlers, question: Question, look: Look, group: RawNumber) -> None:
    with gr.Row(elem_classes="sge-downloads"):
        kind = file_format()
        download(
            "Save this group", "group-save", handlers.group_file, [*question, group, *look, kind]
        )
        download("Save all groups (png)", "grid-save", handlers.grid_file, [*question, *look])
        download("Save arrays and manifest (npz)", "arrays-save", handlers.arrays_file, [*question])


def _histogram(
    handlers: Handlers, question: Question, group: RawNumber, tab: gr.Tab
) -> Callable[[Callable[..., Any]], Any]:
    """Lay out the tab; returns what makes an event redraw the figure while the tab is open."""
    gr.Markdown(texts.HISTOGRAM)
    with gr.Row():
        which = gr.Radio(texts.WHICH_CHOICES, value="all", label="Norms of")
        logarithmic = gr.Checkbox(label="logarithmic counts")
    picture = figure("sge-histogram")
    inputs = [*question, which, group, logarithmic]
    is_visible = RawNumber(0, visible="hidden")  # 1 while the tab is open

    def redraw(event: Callable[..., Any]) -> Any:
        return event(
            handlers.histogram_shown,
            [is_visible, *inputs],
            picture,
            js=visible("sge-histogram"),
            trigger_mode="always_last",
            **LISTENER,
        )

    redraw(functools.partial(gr.on, [tab.select, which.input, logarithmic.input]))
    with gr.Row(elem_classes="sge-downloads"):
        kind = file_format()
        download("Save", "histogram-save", handlers.histogram_file, [*inputs, kind])
    return redraw


def _figure2(handlers: Handlers, question: Question, look: Look) -> None:
    gr.Markdown(texts.FIGURE2)
    with gr.Row():
        pictures = gr.File(
            label="Pictures (none: the examples)",
            file_count="multiple",
            file_types=["image"],
            type="filepath",
            height=150,
            elem_id="sge-figure2-pictures",
        )
        with gr.Column():
            groups = gr.Textbox(
                "17, 21, 40", label="Groups, counted from 0", elem_id="sge-figure2-groups"
            )
            scale = gr.Dropdown(texts.SCALE_CHOICES, value="own", label="Colour scale")
            start = gr.Button("Draw", variant="primary", elem_id="sge-figure2-draw")
    refused = gr.HTML(elem_classes="sge-status")
    drawn = figure("sge-figure2")
    inputs = [pictures, *question[1:], groups, look.colour_map, scale]
    start.click(handlers.figure2_shown, inputs, [drawn, refused], **LISTENER)
    with gr.Row(elem_classes="sge-downloads"):
        kind = file_format()
        download("Save", "figure2-save", handlers.figure2_of_examples, [*inputs, kind])
