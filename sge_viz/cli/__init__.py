"""The shell: `python -m sge_viz COMMAND ...`.

Each command is a file of this package with one public function, `add(commands)`, that declares its
arguments and calls `parser.set_defaults(run=...)`. `run(arguments) -> int` returns the exit code or
raises `Failure`. Such a file imports nothing slow (torch, gradio) before its command runs, so that
`--help` answers at once.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from sge_viz import __version__
from sge_viz.cli import (
    audit,
    checkpoints,
    evaluate,
    evidence,
    explain,
    figure,
    index,
    serve,
    stats,
    train,
)
from sge_viz.cli.failure import Failure
from sge_viz.memory import keep_memory

COMMANDS = (
    explain.add,
    evidence.add,
    serve.add,
    checkpoints.add,
    stats.add,
    audit.add,
    figure.add,
    index.add,
    evaluate.add,
    train.add,
)

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

_EXAMPLES = """\
examples:
  python -m sge_viz explain dog.jpg --out figures
  python -m sge_viz evidence dog.jpg --intervene off@layer4.2
  python -m sge_viz serve
  python -m sge_viz checkpoints list
  python -m sge_viz checkpoints fetch sge_resnet50
  python -m sge_viz COMMAND --help

exit codes: 0 done, 1 something failed (a sentence on stderr says what), 2 wrong usage
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments; those of the process if None.

    Returns:
        0 if all went well, 1 if something failed, 2 for wrong usage, 130 after Ctrl-C.
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed help or what is wrong
        return stop.code if isinstance(stop.code, int) else USAGE
    run: Callable[[argparse.Namespace], int] = arguments.run
    keep_memory()
    try:
        code = run(arguments)
        sys.stdout.flush()
    except Failure as failure:
        print(f"sge-viz: {failure}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        print("sge-viz: stopped.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sge_viz",
        description="See what each channel group of an SGE network looks at, before and after "
        "Spatial Group-wise Enhance.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sge-viz {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    return parser
