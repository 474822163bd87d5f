"""`python -m sge_viz explain PICTURE...`: figures, arrays and a manifest into a folder."""

# ruff: noqa: PLC0415 (slow imports wait until the command runs, so that --help answers at once)

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sge_viz.cli.failure import Failure

if TYPE_CHECKING:
    from torch import nn

    from sge_viz.explain import Explanation
    from sge_viz.render.figures import PictureMaps

MOST_ROWS = 24
"""Pictures in Figure 2; more would not fit a page."""

_EXAMPLES = """\
examples:
  python -m sge_viz explain dog.jpg --out figures
  python -m sge_viz explain dog.jpg cat.jpg --layer layer4.2 --groups 3,17 --format pdf --out pdf
  python -m sge_viz explain *.jpg --size 448 --scale own --checkpoint sge_resnet101 --out figures

For every picture and layer it writes NAME_LAYER.npz (arrays and manifest, no pickle), the grid of
all groups, the histogram and the chosen groups; for every layer the paper's Figure 2; and last
manifest.json. A picture that is refused is named, the others are done, and the exit code is 1.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "explain",
        help="draw what the groups see in pictures, before and after SGE",
        description="Draw what the groups see in pictures, before and after SGE.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_run)
    parser.add_argument(
        "pictures", nargs="+", metavar="PICTURE", help="JPEG, PNG, WebP, BMP or GIF"
    )
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder (default: out)")
    parser.add_argument(
        "--layer",
        action="append",
        metavar="PATH",
        help="module path, repeatable (default: the last block of stage 4, layer3.5)",
    )
    parser.add_argument(
        "--groups",
        default="17,21,40",
        metavar="N,N",
        help="groups to draw large, counted from 0 (default: the paper's, 17,21,40)",
    )
    parser.add_argument(
        "--scale",
        choices=("shared", "layer", "own"),
        default="shared",
        help="colour scale: of before and after together (default), of the layer, each its own",
    )
    parser.add_argument(
        "--colour-map", default="viridis", help="viridis (default), magma, gray, ..."
    )
    parser.add_argument(
        "--size",
        default="published",
        help='"published" (224 px centre crop, default) or the whole picture at 224 to 896 px',
    )
    parser.add_argument("--checkpoint", help="a name or a file (default: the bundled weights)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: cuda if there is one)")
    parser.add_argument(
        "--format",
        action="append",
        choices=("png", "svg", "pdf"),
        help="of Figure 2 and the histogram, repeatable (default: png)",
    )


def _run(arguments: argparse.Namespace) -> int:
    from sge_viz.checkpoints import BadCheckpoint, load_model

    try:
        model = load_model(arguments.checkpoint, arguments.device)
        layers = _layers(model, arguments.layer)
        arguments.out.mkdir(parents=True, exist_ok=True)
        return _explain_all(arguments, model, layers)
    except BadCheckpoint as error:
        raise Failure(str(error)) from error
    except ValueError as error:  # a wrong group, size, colour map or device
        raise Failure(str(error), code=2) from error
    except OSError as error:
        raise Failure(f"{arguments.out} cannot be written: {error.strerror}.") from error


def _explain_all(arguments: argparse.Namespace, model: nn.Module, layers: list[str]) -> int:
    from tqdm import tqdm

    from sge_viz.explain import explain
    from sge_viz.images import BadPicture, open_picture
    from sge_viz.selection import parse_size

    folder = _Folder(arguments, layers)
    for path in tqdm(arguments.pictures, unit="picture", disable=None, leave=False):
        try:
            picture = open_picture(Path(path))
            explanation = explain(model, picture, parse_size(arguments.size), layers)
        except BadPicture as error:
            folder.refused[path] = str(error)
            tqdm.write(f"sge-viz: {path}: {error}", file=sys.stderr)
            continue
        folder.add(explanation, Path(path).stem)
        best = explanation.predictions[0]
        tqdm.write(f"{path}: {best.label} {best.probability:.1%}")
    folder.finish()
    print(
        f"{len(folder.manifests)} explained, {len(folder.refused)} refused; "
        f"files in {arguments.out}{os.sep}"
    )
    return 1 if folder.refused else 0


def _layers(model: nn.Module, chosen: list[str] | None) -> list[str]:
    from sge_viz.resnet import default_layer, layers

    known = [layer.path for layer in layers(model)]
    for layer in chosen or []:
        if layer not in known:
            raise Failure(
                f"There is no layer {layer!r} in this network; it has {', '.join(known)}.", code=2
            )
    return list(dict.fromkeys(chosen or [default_layer(model)]))


class _Folder:
    """What `explain` writes: files per picture at once, figures of all and the manifest last."""

    def __init__(self, arguments: argparse.Namespace, layers: list[str]) -> None:
        self.refused: dict[str, str] = {}
        self.manifests: dict[str, dict[str, Any]] = {}
        self._out: Path = arguments.out
        self._groups: str = arguments.groups
        self._kinds: list[str] = arguments.format or ["png"]
        self._look = {"colour_map": arguments.colour_map, "scale": arguments.scale}
        self._rows: dict[str, list[PictureMaps]] = {layer: [] for layer in layers}
        self._titles: dict[str, dict[str, str]] = {}

    def add(self, explanation: Explanation, stem: str) -> None:
        """Write one picture's files; a name that is taken gets a number."""
        from sge_viz import draw, export

        name, number = stem, 2
        while name in self.manifests:
            name, number = f"{stem}-{number}", number + 1
        for layer, rows in self._rows.items():
            self._write(explanation, layer, f"{name}_{layer}")
            rows.append(draw.row(explanation, layer))
            self._titles[layer] = {
                "layer": explanation.layer_title(layer),
                "checkpoint": explanation.card.title,
            }
        self.manifests[name] = {layer: export.manifest(explanation, layer) for layer in self._rows}

    def _write(self, explanation: Explanation, layer: str, stem: str) -> None:
        from sge_viz import draw, export
        from sge_viz.selection import parse_groups

        groups = parse_groups(self._groups, explanation.chosen(layer).before.shape[1])
        self._save(f"{stem}.npz", export.npz_bytes(explanation, layer))
        self._save(f"{stem}_groups.png", draw.grid(explanation, layer, **self._look))
        for index in groups:
            drawn = draw.group(explanation, layer, index, **self._look)
            self._save(f"{stem}_group{index}.png", drawn)
        for kind in self._kinds:
            drawn = draw.histogram(explanation, layer, None, kind, logarithmic=False)
            self._save(f"{stem}_histogram.{kind}", drawn)

    def finish(self) -> None:
        """Write Figure 2 of the pictures, and last the manifest: with it the folder is complete."""
        from sge_viz import draw
        from sge_viz.selection import parse_groups

        for layer, rows in self._rows.items():
            shown = rows[:MOST_ROWS]
            if len(rows) > len(shown):
                print(f"Figure 2 of {layer} shows the first {len(shown)} pictures.")
            for kind in self._kinds if shown else []:
                groups = parse_groups(self._groups, len(shown[0].before))  # type: ignore[arg-type]
                drawn = draw.figure2(shown, groups, kind, **self._titles[layer], **self._look)
                self._save(f"figure2_{layer}.{kind}", drawn)
        manifest = {
            "pictures": self.manifests,
            "refused": {Path(path).name: sentence for path, sentence in self.refused.items()},
            "drawn_with": {"groups": self._groups, **self._look},
        }
        self._save("manifest.json", json.dumps(manifest, indent=2).encode())

    def _save(self, name: str, data: bytes) -> None:
        """Write through a neighbour file, so that a file of this name is always whole."""
        partial = self._out / f"{name}.part"
        partial.write_bytes(data)
        partial.replace(self._out / name)
