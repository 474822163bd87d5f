"""`python -m sge_viz evaluate FOLDER`: top-1 and top-5 accuracy."""

# ruff: noqa: PLC0415 (slow imports wait until the command runs, so that --help answers at once)

from __future__ import annotations

import argparse

from sge_viz.cli.run_options import (
    add_run,
    closing_code,
    failing,
    load_network,
    progress_bar,
    say,
    worker_count,
    write_json,
)

_EXAMPLES = """\
examples:
  python -m sge_viz evaluate ~/imagenet/val --checkpoint sge_resnet50
  python -m sge_viz evaluate pictures --json
  torchrun --nproc-per-node 4 -m sge_viz evaluate ~/imagenet/val --out run

FOLDER holds a folder for each class, named by its WordNet id (n02086240) or its class index (155).
Preprocessing as published: shorter side to 256 pixels, centre crop of 224. With the published
SGE-ResNet50 and ImageNet-val this is the command that must give 77.584% and 93.664%.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "evaluate",
        help="measure top-1 and top-5 accuracy on class folders",
        description="Measure top-1 and top-5 accuracy on class folders.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_run)
    add_run(parser, None)


def _run(arguments: argparse.Namespace) -> int:
    from sge_viz.statistics import Plan, evaluate, read_folder

    with failing():
        folder = read_folder(arguments.folder)
        model = load_network(arguments)
        plan = Plan(
            accuracy=True,
            batch=arguments.batch,
            shard=arguments.shard,
            bfloat16=arguments.bf16,
            channels_last=arguments.channels_last,
        )
        workers = worker_count(arguments.workers)
        with progress_bar("evaluate") as bar:
            evaluation = evaluate(
                model,
                folder,
                plan,
                arguments.out,
                workers=workers,
                progress=bar.update,
                begin=bar.begin,
            )
        if evaluation is None:
            return 0
        write_json(evaluation.plain() if arguments.json else None, arguments.json)
    say(arguments, evaluation.sentence())
    return closing_code(arguments, [(r.path, r.reason) for r in evaluation.refused], len(folder))
