"""`python -m sge_viz audit RESULT`: the paper's claims, checked."""

# ruff: noqa: PLC0415 (slow imports wait until the command runs, so that --help answers at once)

from __future__ import annotations

import argparse
from pathlib import Path

from sge_viz.cli.run_options import failing, write_json

_EXAMPLES = """\
examples:
  python -m sge_viz audit run
  python -m sge_viz audit run/result.npz --layer layer4.2 --json audit.json

Each claim under absolute and scale-free definitions, with its formula, its value before and after,
a bootstrap interval over pictures and three controls; and a verdict: supported, not supported, or
depends on the definition. RESULT is what `stats` wrote: the file or its folder.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "audit",
        help="check the paper's claims on a result of stats",
        description="Check the paper's claims on a result of `stats`.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_run)
    parser.add_argument("result", metavar="RESULT", type=Path, help="file or folder of `stats`")
    parser.add_argument(
        "--layer", action="append", metavar="PATH", help="repeatable (default: all in it)"
    )
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write JSON (default: print it)"
    )


def _run(arguments: argparse.Namespace) -> int:
    from sge_viz.statistics import Result, audit_text, plain_audit

    with failing():
        result = Result.load(arguments.result)
        text = audit_text(result, arguments.layer)
        if arguments.json:
            write_json(plain_audit(result, arguments.layer), arguments.json)
    if arguments.json != "-":
        print(text, end="")
    return 0
