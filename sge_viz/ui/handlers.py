"""What happens when a person changes something: Gradio's values in, Gradio's updates out."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from sge_viz import checkpoints, draw, export
from sge_viz.capture import UnknownLayerError
from sge_viz.explain import Explanation
from sge_viz.images import BadPicture
from sge_viz.maps import concentration, gate_contrast
from sge_viz.selection import parse_group, parse_groups
from sge_viz.ui import texts
from sge_viz.ui.payload import explorer_value
from sge_viz.ui.studio import Source, Studio

REFUSED = (ValueError, UnknownLayerError)
"""BadPicture, BadCheckpoint and all sentences about a wrong setting are among these."""


class Handlers:
    """The page's listeners, and the questions that it shares with the endpoints."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    # ---- listeners of the page -------------------------------------------------------------

    def show(
        self, picture: Source, checkpoint: str, layer: str | None, size: str
    ) -> tuple[Any, Any, Any, Any]:
        """Explain a picture: the explorer's value, the status, what was refused, the layers' menu.

        What is refused says why and leaves everything else as it was.
        """
        if picture is None:
            return gr.skip(), gr.skip(), texts.NO_PICTURE, gr.skip()
        try:
            explanation = self._studio.explain(picture, checkpoint, size)
        except REFUSED as error:
            sentence = texts.refusal(f"{error} What is shown below is unchanged.")
            return gr.skip(), gr.skip(), sentence, gr.skip()
        choices = [(explanation.layer_title(path), path) for path in explanation.maps]
        menu: dict[str, Any] = {"choices": choices}
        if layer is None or layer not in explanation.maps:  # else the menu stays as it is by now
            layer = menu["value"] = explanation.default_layer
        shown = explorer_value(explanation, layer)
        return shown, texts.status(explanation), "", gr.update(**menu)

    def menu(self) -> Any:
        """List the weights anew, so that a file dropped in appears when the page is opened."""
        return gr.update(choices=[(entry.title, entry.name) for entry in checkpoints.available()])

    def histogram_shown(self, visible: object, *question: Any) -> Any:
        """Draw the histogram for a page that shows its tab; a refusal leaves it as it was."""
        if not visible:
            return gr.skip()
        try:
            return self.histogram_file(*question)
        except REFUSED as error:
            gr.Warning(str(error), title="Not drawn")
            return gr.skip()

    def figure2_shown(self, pictures: list[str] | None, *values: Any) -> tuple[Any, str]:
        """Draw Figure 2 for the page, and say which pictures were left out and why."""
        try:
            path, refused = self._figure2(pictures or texts.example_paths(), *values)
        except REFUSED as error:
            return gr.skip(), texts.refusal(str(error))
        return path, "".join(map(texts.refusal, refused))

    def figure2_of_examples(self, pictures: list[str] | None, *values: Any) -> str:
        """Draw Figure 2 as a file, of the examples where no picture is given."""
        return self._figure2(pictures or texts.example_paths(), *values)[0]

    # ---- answers as data -------------------------------------------------------------------

    def checkpoints(self) -> list[dict[str, Any]]:
        """List the weights that can be chosen: name, title, and whether they are published ones."""
        return [
            {
                "name": entry.name,
                "title": entry.title,
                "published": bool(entry.card and entry.card.published),
            }
            for entry in checkpoints.available()
        ]

    def layers(self, picture: Source, checkpoint: str, size: str | int) -> list[dict[str, Any]]:
        """List the network's layers by module path and by the paper's name, with map sizes."""
        explanation = self._studio.explain(picture, checkpoint, size)
        return [
            {
                "layer": path,  # a client would take a "path" for a file
                "title": explanation.layer_title(path),
                "groups": maps.before.shape[1],
                "map_size": list(maps.before.shape[-2:]),
            }
            for path, maps in explanation.maps.items()
        ]

    def explain(
        self, picture: Source, checkpoint: str, layer: str, size: str | int
    ) -> dict[str, Any]:
        """Explain a picture: top-5 classes, measures of every group of a layer, the manifest."""
        explanation = self._studio.explain(picture, checkpoint, size)
        return {
            "manifest": export.manifest(explanation, layer),
            "predictions": [vars(prediction) for prediction in explanation.predictions],
            "groups": _measures(explanation, layer),
        }

    def group_maps(
        self, picture: Source, checkpoint: str, layer: str, size: str | int, group: object
    ) -> dict[str, Any]:
        """Give one group's maps as rows of numbers: norms before, gate, norms after."""
        explanation = self._studio.explain(picture, checkpoint, size)
        maps = explanation.chosen(layer)
        index = parse_group(group, maps.before.shape[1])
        kinds = {"before": maps.before, "gate": maps.gate, "after": maps.after}
        return {
            "layer": explanation.layer_title(layer),
            **_measures(explanation, layer)[index],
            **{
                name: None if map_ is None else map_[0, index].tolist()
                for name, map_ in kinds.items()
            },
        }

    # ---- answers as files ------------------------------------------------------------------

    def grid_file(
        self,
        picture: Source,
        checkpoint: str,
        layer: str,
        size: str | int,
        colour_map: str,
        scale: str,
    ) -> str:
        """Draw every group of a layer, before, gate and after, as one PNG."""
        explanation = self._studio.explain(picture, checkpoint, size)
        data = draw.grid(explanation, layer, colour_map=colour_map, scale=scale)
        return save(data, f"{_stem(explanation, layer)}_groups.png")

    def group_file(
        self,
        picture: Source,
        checkpoint: str,
        layer: str,
        size: str | int,
        group: object,
        colour_map: str,
        scale: str,
        kind: str,
    ) -> str:
        """Draw one group, before and after: a "png" shows its gate and overlays too."""
        explanation = self._studio.explain(picture, checkpoint, size)
        index = parse_group(group, explanation.chosen(layer).before.shape[1])
        look = {"colour_map": colour_map, "scale": scale}
        if kind == "png":
            data = draw.group(explanation, layer, index, **look)
        else:
            data = _figure2([explanation], layer, [index], kind, **look)
        return save(data, f"{_stem(explanation, layer)}_group{index}.{kind}")

    def histogram_file(
        self,
        picture: Source,
        checkpoint: str,
        layer: str,
        size: str | int,
        which: str,
        group: object,
        logarithmic: bool,
        kind: str = "png",
    ) -> str:
        """Draw the histogram of norms before and after SGE: a layer's ("all") or one group's."""
        explanation = self._studio.explain(picture, checkpoint, size)
        if which not in ("all", "one"):
            raise ValueError(f'Norms of {which!r} are not known: choose "all" groups or "one".')
        groups = explanation.chosen(layer).before.shape[1]
        index = parse_group(group, groups) if which == "one" else None
        data = draw.histogram(explanation, layer, index, kind, logarithmic=bool(logarithmic))
        suffix = "" if index is None else f"_group{index}"
        return save(data, f"{_stem(explanation, layer)}{suffix}_histogram.{kind}")

    def figure2_file(
        self,
        pictures: list[str] | None,
        checkpoint: str,
        layer: str,
        size: str | int,
        groups: object,
        colour_map: str,
        scale: str,
        kind: str,
    ) -> str:
        """Draw the paper's Figure 2: pictures in rows, groups in columns, before and after."""
        look = (colour_map, scale, kind)
        path, refused = self._figure2(pictures or [], checkpoint, layer, size, groups, *look)
        if refused:
            raise BadPicture(" ".join(refused))
        return path

    def arrays_file(self, picture: Source, checkpoint: str, layer: str, size: str | int) -> str:
        """Pack a layer's arrays with the manifest that tells where they come from, as .npz."""
        explanation = self._studio.explain(picture, checkpoint, size)
        return save(export.npz_bytes(explanation, layer), f"{_stem(explanation, layer)}.npz")

    def _figure2(
        self,
        pictures: list[str],
        checkpoint: str,
        layer: str,
        size: str | int,
        groups: object,
        colour_map: str,
        scale: str,
        kind: str = "png",
    ) -> tuple[str, list[str]]:
        rows, refused = [], []
        for path in pictures:
            try:
                rows.append(self._studio.explain(path, checkpoint, size))
            except BadPicture as error:
                refused.append(str(error))
        if not rows:
            raise BadPicture(" ".join(refused) or "Choose at least one picture.")
        chosen = parse_groups(groups, rows[0].chosen(layer).before.shape[1])
        data = _figure2(rows, layer, chosen, kind, colour_map=colour_map, scale=scale)
        return save(data, f"figure2_{layer}.{kind}"), refused


def _measures(explanation: Explanation, layer: str) -> list[dict[str, Any]]:
    maps = explanation.chosen(layer)
    columns = {
        "norm_before_min": maps.before[0].amin((-2, -1)),
        "norm_before_max": maps.before[0].amax((-2, -1)),
        "concentration_before": concentration(maps.before)[0],
    }
    if maps.gate is not None and maps.after is not None:
        assert maps.gamma is not None and maps.beta is not None
        columns |= {
            "norm_after_min": maps.after[0].amin((-2, -1)),
            "norm_after_max": maps.after[0].amax((-2, -1)),
            "concentration_after": concentration(maps.after)[0],
            "gate_contrast": gate_contrast(maps.gate)[0],
            "gamma": maps.gamma,
            "beta": maps.beta,
        }
    lists = {name: column.tolist() for name, column in columns.items()}
    return [
        {"group": group, **{name: values[group] for name, values in lists.items()}}
        for group in range(maps.before.shape[1])
    ]


def _figure2(
    rows: list[Explanation], layer: str, groups: list[int], kind: str, **look: str
) -> bytes:
    names = {"layer": rows[0].layer_title(layer), "checkpoint": rows[0].card.title}
    return draw.figure2([draw.row(each, layer) for each in rows], groups, kind, **names, **look)


def _stem(explanation: Explanation, layer: str) -> str:
    name = Path(explanation.input.picture.name or "picture").stem
    return f"{name}_{layer}"


def save(data: bytes, name: str) -> str:
    """Put a file where Gradio serves it from, and deletes it after a day."""
    folder = Path(get_upload_folder()) / uuid.uuid4().hex
    folder.mkdir(parents=True)
    path = folder / name
    path.write_bytes(data)
    return str(path)
