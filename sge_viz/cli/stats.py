"""`python -m sge_viz stats FOLDER`: streaming statistics over a data set."""

# ruff: noqa: PLC0415 (slow imports wait until the command runs, so that --help answers at once)

from __future__ import annotations

import argparse
from pathlib import Path

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

_EXAMPLES = """\
examples:
  python -m sge_viz stats ~/imagenet/val --out run
  python -m sge_viz stats pictures --layer all --no-controls --json run.json
  python -m sge_viz stats pictures --index run/index.npz
  torchrun --nproc-per-node 4 -m sge_viz stats ~/imagenet/val --out run

Statistics, and what the audit needs, into DIR/result.npz (definitions inside). Stopped at any
moment, the same command goes on from the last whole shard and ends with the same result. Pictures
that cannot be read are named, left out and counted.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "stats",
        help="measure what SGE changes over a folder of pictures",
        description="Measure what SGE changes over a folder of pictures, in one pass.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_run)
    add_run(parser, "stats")
    add_layers(parser)
    parser.add_argument(
        "--npz", nargs="?", const="", metavar="FILE", help="write the arrays there too"
    )
    parser.add_argument(
        "--no-controls", action="store_true", help="leave out the audit's three controls"
    )
    parser.add_argument("--no-classes", action="store_true", help="take folders for no classes")
    parser.add_argument(
        "--near-zero",
        type=float,
        default=0.5,
        metavar="T",
        help="a norm up to T times the map's mean counts as near zero (default: 0.5)",
    )
    parser.add_argument("--bins", type=int, default=16, help="bins an octave (default: 16)")
    parser.add_argument(
        "--class-bins", type=int, default=2, help="bins an octave for each class (default: 2)"
    )
    parser.add_argument(
        "--replicates", type=int, default=1000, help="bootstrap replicates (default: 1000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of bootstrap and controls")
    parser.add_argument(
        "--index", type=Path, metavar="FILE", help="keep the strongest pictures in the same pass"
    )
    add_index(parser)


def _run(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from sge_viz.statistics import (
        NormGrid,
        Plan,
        Result,
        Settings,
        choose_layers,
        read_folder,
        report,
        summary,
        survey,
    )

    with failing():
        folder = read_folder(arguments.folder)
        if arguments.no_classes:
            folder = replace(folder, classes=())
        settings = Settings(
            grid=NormGrid(per_octave=arguments.bins),
            class_grid=NormGrid(per_octave=arguments.class_bins),
            near_zero=arguments.near_zero,
            controls=not arguments.no_controls,
            replicates=arguments.replicates,
            seed=arguments.seed,
        )
        model = load_network(arguments)
        plan = Plan(
            layers=choose_layers(model, arguments.layer),
            statistics=settings,
            strongest=arguments.top if arguments.index else 0,
            batch=arguments.batch,
            shard=arguments.shard,
            bfloat16=arguments.bf16,
            channels_last=arguments.channels_last,
        )
        workers = worker_count(arguments.workers)
        with progress_bar("stats") as bar:
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
        result = Result.of(model, folder, outcome)
        result.save(arguments.out / "result.npz")
        if arguments.npz:
            result.save(Path(arguments.npz))
        write_json(report(result) if arguments.json else None, arguments.json)
        if arguments.index:
            from sge_viz.cli.index import write_index

            write_index(arguments, model, folder, outcome, arguments.index)
    say(arguments, "\n".join(summary(result)))
    say(arguments, f"{arguments.out / 'result.npz'} is written; `audit` and `figure` read it.")
    return closing_code(arguments, [(r.path, r.reason) for r in outcome.refused], len(folder))
