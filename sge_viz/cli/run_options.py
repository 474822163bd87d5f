"""What the commands over a folder of pictures share: options, progress, refused pictures."""

# ruff: noqa: PLC0415 (slow imports wait until a command runs, so that --help answers at once)

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sge_viz.cli.failure import Failure

if TYPE_CHECKING:
    from torch import nn
    from tqdm import tqdm

STDOUT = "-"


def add_run(parser: argparse.ArgumentParser, out: str | None) -> None:
    """Declare the options of a pass over a folder.

    Args:
        parser: Of the command.
        out: Default folder for the run's shards; None keeps none unless asked.
    """
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="pictures, or class folders")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(out) if out else None,
        metavar="DIR",
        help="folder of the run, which the same command resumes "
        + (f"(default: {out})" if out else "(default: nothing is kept)"),
    )
    parser.add_argument("--checkpoint", help="a name or a file (default: the bundled weights)")
    parser.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")
    parser.add_argument("--batch", type=int, default=32, help="pictures a pass (default: 32)")
    parser.add_argument(
        "--shard", type=int, default=1024, help="pictures a shard, lost at most (default: 1024)"
    )
    parser.add_argument("--workers", type=int, help="processes that decode (default: the cores)")
    parser.add_argument("--bf16", action="store_true", help="run the network in bfloat16 autocast")
    parser.add_argument("--channels-last", action="store_true", help="run it in channels_last")
    parser.add_argument(
        "--max-bad",
        type=_allowance,
        default="0",
        metavar="N",
        help="refused pictures, or percent of them (2%%), before the exit code is 1 (default: 0)",
    )
    parser.add_argument(
        "--json", nargs="?", const=STDOUT, metavar="FILE", help="write JSON (default: print it)"
    )


def add_layers(parser: argparse.ArgumentParser) -> None:
    """Declare the choice of layers."""
    parser.add_argument(
        "--layer",
        action="append",
        metavar="PATH",
        help="module path, repeatable, or all (default: the last blocks of stage 4 and of all, "
        "layer3.5 and layer4.2)",
    )


def add_index(parser: argparse.ArgumentParser) -> None:
    """Declare what an index holds."""
    parser.add_argument(
        "--top", type=int, default=9, metavar="K", help="pictures a group and ranking (default: 9)"
    )
    parser.add_argument(
        "--thumbnails",
        type=int,
        default=112,
        metavar="PX",
        help="side of the small pictures kept in the index; 0 for none (default: 112)",
    )
    parser.add_argument(
        "--maps", action="store_true", help="keep their maps too: overlays need no network then"
    )


def _allowance(text: str) -> tuple[float, bool]:
    """Read "3" or "2%": a number, and whether it is a percentage."""
    percent = text.endswith("%")
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1
    if not number >= 0 or not (percent or number.is_integer()) or (percent and number > 100):
        raise argparse.ArgumentTypeError("give a whole number, or a percentage such as 2%")
    return number, percent


def first_process() -> bool:
    """Whether this process writes the results: alone, or the first that torchrun started."""
    return os.environ.get("RANK", "0") == "0" or "TORCHELASTIC_RUN_ID" not in os.environ


def worker_count(asked: int | None) -> int:
    """Return the decoding processes of this process; the cores of a host are shared out.

    Raises:
        Failure: A negative number was asked for.
    """
    if asked is not None:
        if asked < 0:
            raise Failure(f"{asked} workers: choose 0 or more.", code=2)
        return asked
    together = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(8, (os.cpu_count() or 1) // together))


def load_network(arguments: argparse.Namespace) -> nn.Module:
    """Load the network on this process's device.

    Raises:
        Failure: There is no such checkpoint or device.
    """
    import torch

    from sge_viz.checkpoints import BadCheckpoint, load_model
    from sge_viz.statistics.team import local_device

    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return load_model(arguments.checkpoint, local_device(device))
    except BadCheckpoint as error:
        raise Failure(str(error)) from error
    except ValueError as error:
        raise Failure(str(error), code=2) from error


class Bar:
    """A progress bar with pictures a second and the time left, in the first process only."""

    def __init__(self, bar: tqdm[None]) -> None:
        self._bar, self._refused = bar, 0

    def begin(self, todo: int, done: int) -> None:
        """Say how much there is to do."""
        self._bar.reset(total=todo)
        if done:
            self._bar.write(f"{done} pictures are done or in other processes.", file=sys.stderr)

    def update(self, done: int, refused: int) -> None:
        """Count pictures."""
        self._refused += refused
        if self._refused:
            self._bar.set_postfix(refused=self._refused, refresh=False)
        self._bar.update(done)


@contextmanager
def progress_bar(title: str) -> Iterator[Bar]:
    """Show a bar while the block runs."""
    from tqdm import tqdm

    hidden = None if first_process() else True  # None: hidden where nobody watches
    with tqdm(desc=title, unit="picture", disable=hidden, smoothing=0.1) as bar:
        yield Bar(bar)


def write_json(values: Any, where: str | None) -> None:
    """Write JSON to a file, or to stdout for "-"; nothing for None."""
    if where is None:
        return
    text = json.dumps(values, indent=1, allow_nan=False)
    if where == STDOUT:
        print(text)
    else:
        write_file(Path(where), text.encode())


def write_file(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all."""
    from sge_viz.statistics.shards import replacing

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(data)


def say(arguments: argparse.Namespace, text: str) -> None:
    """Print to stdout, or to stderr where stdout carries JSON."""
    print(text, file=sys.stderr if arguments.json == STDOUT else sys.stdout)


def closing_code(arguments: argparse.Namespace, refused: list[tuple[str, str]], total: int) -> int:
    """List the refused pictures; return 1 if there are more than allowed, else 0."""
    for path, reason in refused:
        print(f"sge-viz: {path} was refused: {reason}", file=sys.stderr)
    number, percent = arguments.max_bad
    allowed = number * total / 100 if percent else number
    if len(refused) <= allowed:
        return 0
    print(
        f"sge-viz: {len(refused)} of {total} pictures were refused, more than --max-bad allows.",
        file=sys.stderr,
    )
    return 1


@contextmanager
def failing() -> Iterator[None]:
    """Turn what can go wrong in a run into sentences."""
    from sge_viz.capture import UnknownLayerError
    from sge_viz.statistics import WrongJob

    try:
        yield
    except WrongJob as error:
        raise Failure(str(error)) from error
    except (ValueError, UnknownLayerError) as error:
        raise Failure(str(error), code=2) from error
    except OSError as error:
        raise Failure(f"{error.filename or 'A file'}: {error.strerror or error}.") from error
