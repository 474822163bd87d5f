"""`python -m sge_viz serve`: the page on this machine."""

# ruff: noqa: PLC0415 (slow imports wait until the command runs, so that --help answers at once)

from __future__ import annotations

import argparse
from pathlib import Path

from sge_viz.cli.failure import Failure


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "serve",
        help="open the page in a browser",
        description="Serve the page until Ctrl-C.",
        epilog="example:\n  python -m sge_viz serve --host 0.0.0.0 --port 8080",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_run)
    parser.add_argument(
        "--host", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    parser.add_argument("--port", type=_port, help="port (default: the first free one from 7860)")
    parser.add_argument(
        "--index", type=Path, help="strongest pictures to show (default: those of the examples)"
    )
    parser.add_argument("--stats", type=Path, help="result of `stats` to show (default: ours)")
    parser.add_argument("--open", action="store_true", help="open a browser window")


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise argparse.ArgumentTypeError("give a number from 1 to 65535")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    from sge_viz.statistics.index import BadIndex
    from sge_viz.statistics.result import BadResult
    from sge_viz.ui import build_page, launch

    try:
        launch(
            build_page(index=arguments.index, stats=arguments.stats),
            server_name=arguments.host,
            server_port=arguments.port,
            inbrowser=arguments.open,
        )
    except (BadIndex, BadResult) as error:
        raise Failure(str(error)) from error
    except OSError as error:  # Gradio found no free port
        raise Failure(str(error)) from error
    return 0
