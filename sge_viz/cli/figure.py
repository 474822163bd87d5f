"""`python -m sge_viz figure 2|3|4`: the paper's figures as files for a paper."""

# ruff: noqa: PLC0415 (slow imports wait until the command runs, so that --help answers at once)

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sge_viz.cli.failure import Failure
from sge_viz.cli.run_options import failing, write_file

_EXAMPLES = """\
examples:
  python -m sge_viz figure 2 dog.jpg cat.jpg --groups 17,21,40 --out figure2.pdf
  python -m sge_viz figure 3 run --layer layer4.2 --out figure3.pdf
  python -m sge_viz figure 3 run --group 17 --log
  python -m sge_viz figure 4 run --quantity std --out figure4.svg

Figures 3 and 4 read a result of `stats`. Where the weights are the published ones, the values read
off the published figures stand beside the measured ones. The file's ending chooses PNG, SVG or PDF.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its three figures."""
    parser = commands.add_parser(
        "figure",
        help="draw the paper's Figure 2, 3 or 4",
        description="Draw the paper's Figure 2, 3 or 4 from your pictures and results.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(title="figures", metavar="2|3|4", required=True)

    part = parts.add_parser("2", help="maps of some groups in some pictures, before and after SGE")
    part.set_defaults(run=_figure2)
    part.add_argument("pictures", nargs="+", metavar="PICTURE", help="one row each")
    part.add_argument(
        "--groups",
        default="17,21,40",
        metavar="N,N",
        help="columns, counted from 0 (default: the paper's, 17,21,40)",
    )
    part.add_argument("--layer", help="module path (default: the last block of stage 4)")
    part.add_argument("--scale", choices=("own", "shared", "layer"), default="own")
    part.add_argument("--colour-map", default="viridis", help="viridis (default), magma, gray, ...")
    part.add_argument("--size", default="published", help='"published" (default) or 224 to 896')
    part.add_argument("--checkpoint", help="a name or a file (default: the bundled weights)")
    part.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")
    _add_out(part, 2)

    part = parts.add_parser("3", help="histogram of norms over a data set, before and after SGE")
    part.set_defaults(run=_figure3)
    _add_result(part)
    part.add_argument("--group", type=int, help="one group, counted from 0 (default: all)")
    part.add_argument("--log", action="store_true", help="logarithmic vertical axis")
    _add_out(part, 3)

    part = parts.add_parser("4", help="activation spread of every group, before and after SGE")
    part.set_defaults(run=_figure4)
    _add_result(part)
    part.add_argument("--quantity", choices=("variance", "std"), default="variance")
    _add_out(part, 4)


def _add_result(part: argparse.ArgumentParser) -> None:
    part.add_argument("result", metavar="RESULT", type=Path, help="file or folder of `stats`")
    part.add_argument("--layer", help="module path (default: the last one in the result)")


def _add_out(part: argparse.ArgumentParser, number: int) -> None:
    part.add_argument(
        "--out",
        type=Path,
        default=Path(f"figure{number}.png"),
        metavar="FILE",
        help=f".png, .svg or .pdf (default: figure{number}.png)",
    )
    part.add_argument("--width", type=float, help="inches of the figure (3.5 is one column)")


def _figure2(arguments: argparse.Namespace) -> int:
    from sge_viz import draw
    from sge_viz.cli.run_options import load_network
    from sge_viz.explain import explain
    from sge_viz.images import BadPicture, open_picture
    from sge_viz.render.figures import PictureMaps, figure2
    from sge_viz.resnet import default_layer
    from sge_viz.selection import parse_groups, parse_size

    rows: list[PictureMaps] = []
    refused = 0
    with failing():
        _kind(arguments.out)
        model = load_network(arguments)
        layer = arguments.layer or default_layer(model)
        title = weights = ""
        for path in arguments.pictures:
            try:
                picture = open_picture(Path(path))
            except BadPicture as error:
                refused += 1
                print(f"sge-viz: {error}", file=sys.stderr)
                continue
            explanation = explain(model, picture, parse_size(arguments.size), [layer])
            rows.append(draw.row(explanation, layer))
            title, weights = explanation.layer_title(layer), explanation.card.title
            groups = parse_groups(arguments.groups, explanation.chosen(layer).before.shape[1])
        if not rows:
            raise Failure("No picture could be read, so there is nothing to draw.")
        width = {"width": arguments.width} if arguments.width else {}
        figure = figure2(
            rows,
            groups,
            scale=arguments.scale,
            colour_map=arguments.colour_map,
            layer=title,
            checkpoint=weights,
            **width,
        )
        _save(figure, arguments.out)
    return 1 if refused else 0


def _figure3(arguments: argparse.Namespace) -> int:
    from sge_viz.statistics import Result
    from sge_viz.statistics.figures import figure3_of

    with failing():
        _kind(arguments.out)
        result = Result.load(arguments.result)
        figure = figure3_of(
            result, arguments.layer, arguments.group, log=arguments.log, width=arguments.width
        )
        _save(figure, arguments.out)
    return 0


def _figure4(arguments: argparse.Namespace) -> int:
    from sge_viz.statistics import Result
    from sge_viz.statistics.figures import figure4_of

    with failing():
        _kind(arguments.out)
        result = Result.load(arguments.result)
        figure = figure4_of(result, arguments.layer, arguments.quantity, width=arguments.width)
        _save(figure, arguments.out)
    return 0


def _kind(path: Path) -> str:
    from sge_viz.render.figure_files import FORMATS

    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ValueError(f"{path} ends in no known format: choose .png, .svg or .pdf.")
    return kind


def _save(figure: object, path: Path) -> None:
    from sge_viz.render.figure_files import figure_bytes

    write_file(path, figure_bytes(figure, _kind(path)))  # type: ignore[arg-type]
    print(f"{path} is written.")
