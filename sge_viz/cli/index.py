"""`python -m sge_viz index FOLDER`: the pictures that excite every group most."""

# ruff: noqa: PLC0415 (slow imports wait until the command runs, so that --help answers at once)

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sge_viz.cli.run_options import (
    add_index,
    add_layers,
    add_run,
    closing_code,
    failing,
    load_network,
    progress_bar,
    say,
    worker_count,
    write_json,
)

if TYPE_CHECKING:
    from torch import nn

    from sge_viz.statistics import Folder, Index, Outcome

_EXAMPLES = """\
examples:
  python -m sge_viz index pictures --index pictures.npz
  python -m sge_viz index ~/imagenet/val --layer all --top 16 --thumbnails 0 --out run
  python -m sge_viz serve --index pictures.npz

Four rankings: the largest norm before SGE, the largest after, gate lift (how much the peak gains
over the mean), concentration after SGE. The file holds names, scores, peaks, small pictures and,
where the pictures lie in class folders, which classes a group prefers; it holds no code.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "index",
        help="find the pictures that excite every group most",
        description="Find the pictures that excite every group most.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_run)
    add_run(parser, None)
    add_layers(parser)
    parser.add_argument(
        "--index",
        type=Path,
        default=Path("index.npz"),
        metavar="FILE",
        help="file to write (default: index.npz)",
    )
    add_index(parser)


def _run(arguments: argparse.Namespace) -> int:
    from sge_viz.statistics import Plan, choose_layers, read_folder, survey

    with failing():
        folder = read_folder(arguments.folder)
        if arguments.top < 1:
            raise ValueError(f"{arguments.top} strongest pictures: choose at least 1.")
        model = load_network(arguments)
        plan = Plan(
            layers=choose_layers(model, arguments.layer),
            strongest=arguments.top,
            batch=arguments.batch,
            shard=arguments.shard,
            bfloat16=arguments.bf16,
            channels_last=arguments.channels_last,
        )
        workers = worker_count(arguments.workers)
        with progress_bar("index") as bar:
            outcome = survey(
                model,
                folder,
                plan,
                arguments.out,
                workers=workers,
                progress=bar.update,
                begin=bar.begin,
            )
        if outcome is None:
            return 0
        index = write_index(arguments, model, folder, outcome, arguments.index)
        write_json(_plain(index) if arguments.json else None, arguments.json)
    return closing_code(arguments, [(r.path, r.reason) for r in outcome.refused], len(folder))


def write_index(
    arguments: argparse.Namespace, model: nn.Module, folder: Folder, outcome: Outcome, path: Path
) -> Index:
    """Make the index of a pass and write it."""
    from sge_viz.statistics import make_index

    with progress_bar("thumbnails and maps" if arguments.maps else "thumbnails") as bar:
        index = make_index(
            model,
            folder,
            outcome,
            thumbnails=arguments.thumbnails,
            maps=arguments.maps,
            progress=bar.update,
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    index.save(path)
    say(
        arguments,
        f"{path} is written: {len(index.layers)} layers, {len(index.paths)} pictures, "
        f"{path.stat().st_size / 1e6:.1f} MB.",
    )
    return index


def _plain(index: Index) -> dict[str, object]:
    """Return the index as plain values."""
    from sge_viz.statistics import RANKINGS

    return {
        "definitions": RANKINGS,
        "group_index": "0-based; the paper counts from 1",
        "provenance": index.provenance,
        "layers": {
            layer: {
                ranking: [
                    [
                        {"path": hit.path, "score": hit.score, "cell": hit.cell}
                        for hit in index.strongest(layer, group, ranking)
                    ]
                    for group in range(index.groups(layer))
                ]
                for ranking in RANKINGS
            }
            for layer in index.layers
        },
    }
