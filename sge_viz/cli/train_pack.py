"""`python -m sge_viz train pack`: prepare pictures and what a teacher sees in them."""

# ruff: noqa: PLC0415 (slow imports wait until the command runs, so that --help answers at once)

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sge_viz.cli.train_options import chosen_device, failing


def add(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the kind."""
    parser = kinds.add_parser("pack", help="prepare pictures and what a teacher sees in them")
    parser.set_defaults(run=_run)
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="+", help="pictures")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to pack them")
    parser.add_argument(
        "--teacher", choices=("lite0", "lite2"), default="lite2", help="EfficientNet-Lite (lite2)"
    )
    parser.add_argument("--side", type=int, default=256, help="pixels of the squares (256)")
    parser.add_argument(
        "--hold-out",
        type=int,
        default=0,
        metavar="N",
        help="pictures to leave out of each folder without ImageNet labels (0)",
    )
    parser.add_argument(
        "--means",
        action="append",
        default=[],
        type=_classes,
        metavar="FOLDER=FIRST-LAST",
        help="pictures in a folder of this name show one of these ImageNet classes, repeatable "
        "(cat=281-285)",
    )
    parser.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")


def _classes(text: str) -> tuple[str, tuple[int, int]]:
    name, _, classes = text.rpartition("=")
    first, _, last = classes.partition("-")
    if not name or not first.isdecimal() or not last.isdecimal():
        raise argparse.ArgumentTypeError("write it as cat=281-285")
    return name.lower(), (int(first), int(last))


def _run(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from sge_viz.training.packing import pack
    from sge_viz.training.teacher import Teacher, TeacherName

    with failing(), tqdm(desc="pack", unit="picture", smoothing=0.1) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        packed = pack(
            arguments.folders,
            arguments.out,
            Teacher(TeacherName[arguments.teacher.upper()]),
            side=arguments.side,
            hold_out=arguments.hold_out,
            means=dict(arguments.means),
            device=chosen_device(arguments),
            progress=progress,
        )
    for source in packed.sources:
        for path, reason in source.refused:
            print(f"sge-viz: {source.name}/{path} was refused: {reason}", file=sys.stderr)
        print(
            f"{source.name}: {source.pictures} pictures"
            f"{' with labels' if source.labelled else ''}, {len(source.held_out)} held out"
        )
    return 0
