"""`python -m sge_viz checkpoints list | fetch | verify | convert`."""

# ruff: noqa: PLC0415 (slow imports wait until a command runs, so that --help answers at once)

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sge_viz.cli.failure import Failure

_EXAMPLES = """\
examples:
  python -m sge_viz checkpoints list
  python -m sge_viz checkpoints fetch sge_resnet50
  python -m sge_viz checkpoints fetch sge_resnet50 --url https://example.org/mirror/sge_resnet50.pth
  python -m sge_viz checkpoints verify checkpoints/mine.pth --json
  python -m sge_viz checkpoints convert checkpoints/mine.pth --half

Files lie in checkpoints/ beside the package, or where SGE_VIZ_CHECKPOINTS says.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its four parts."""
    parser = commands.add_parser(
        "checkpoints",
        help="list, download, check and convert weights",
        description="List, download, check and convert weights.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(title="parts", metavar="PART", required=True)

    part = _part(parts, "list", _list, "what the catalogue holds, and which files are here")
    part.add_argument("--json", action="store_true", help="print JSON")

    part = _part(parts, "fetch", _fetch, "download a checkpoint; an interrupted one is continued")
    part.add_argument("name", metavar="NAME", help="a name that `checkpoints list` shows")
    part.add_argument("--url", help="a mirror to use instead of the catalogue's address")
    part.add_argument("--sha256", type=_hash, help="a hash that the file must have")
    part.add_argument("--force", action="store_true", help="download again if it is there")

    part = _part(parts, "verify", _verify, "check a file: format, hash, network, every tensor")
    part.add_argument("path", metavar="PATH", help="a file, or a name of the catalogue")
    part.add_argument("--sha256", type=_hash, help="a hash that the file must have")
    part.add_argument("--json", action="store_true", help="print JSON")

    part = _part(parts, "convert", _convert, "write safetensors with the checkpoint's card in it")
    part.add_argument("path", metavar="PATH", help="a file, or a name of the catalogue")
    part.add_argument("--out", type=Path, help="file to write (default: beside PATH)")
    part.add_argument("--half", action="store_true", help="round to half precision")
    part.add_argument("--force", action="store_true", help="replace the file if it is there")


def _part(
    parts: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    help: str,
) -> argparse.ArgumentParser:
    parser = parts.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
    parser.set_defaults(run=run)
    return parser


def _hash(text: str) -> str:
    if len(text) != 64 or set(text.lower()) - set("0123456789abcdef"):
        raise argparse.ArgumentTypeError("a SHA-256 has 64 hexadecimal digits")
    return text.lower()


def _list(arguments: argparse.Namespace) -> int:
    from sge_viz.checkpoints import Catalogue, available

    here = {entry.name: entry for entry in available()}
    default = Catalogue.DEFAULT.value.name
    rows: list[dict[str, Any]] = [asdict(entry.value) for entry in Catalogue]
    rows += [
        {"name": entry.name, "title": entry.title} for entry in here.values() if entry.card is None
    ]
    for row in rows:
        name = row["name"]
        row |= {"present": name in here, "default": name == default}
        row["path"] = str(here[name].path) if name in here else None
    if arguments.json:
        _print_json(rows)
        return 0
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        state = "here" if row["present"] else "not here"
        top1 = f"{row['top1']:.3f}% top-1" if row.get("top1") else ""
        mark = " (default)" if row["default"] else ""
        print(f"{row['name']:{width}}  {state:8}  {top1:13}  {row['title']}{mark}")
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from sge_viz.checkpoints import Catalogue, fetch, find

    if find(arguments.name) is None:
        names = ", ".join(entry.value.name for entry in Catalogue)
        raise Failure(f"{arguments.name!r} is not in the catalogue. It holds {names}.", code=2)
    with (
        tqdm(desc=arguments.name, unit="B", unit_scale=True, leave=False) as bar,
        _failing(
            interrupted="Stopped. What has come is kept: the same command goes on from there."
        ),
    ):

        def progress(here: int, total: int | None) -> None:
            bar.total = total
            bar.update(here - bar.n)

        fetched = fetch(
            arguments.name,
            arguments.url,
            sha256=arguments.sha256,
            force=arguments.force,
            progress=progress,
        )
    print(f"{fetched.path} {'is there and whole' if fetched.downloaded else 'was there already'}.")
    print(f"SHA-256 {fetched.sha256}")
    if fetched.first_seen and fetched.downloaded:
        print("No hash was known, so this one is now recorded as the published file's.")
    elif fetched.first_seen:
        print(
            "No hash is known to compare it with, so nobody can say that these are the "
            "published weights. --force downloads them."
        )
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from sge_viz.checkpoints import inspect

    try:
        with _failing():
            checkpoint = inspect(arguments.path)
            if arguments.sha256 not in (None, checkpoint.sha256):
                raise Failure(
                    f"{checkpoint.path.name} has the wrong hash: SHA-256 {checkpoint.sha256} "
                    f"instead of {arguments.sha256}."
                )
    except Failure as failure:
        if arguments.json:
            _print_json({"ok": False, "path": arguments.path, "error": str(failure)})
        raise
    if arguments.json:
        report = {"ok": True, "path": str(checkpoint.path), "format": checkpoint.kind}
        _print_json(report | asdict(checkpoint.card))
        return 0
    published = "yes" if checkpoint.card.published else "no, or not confirmed"
    print(f"{checkpoint.path} is whole.")
    print(f"  network             {checkpoint.architecture}")
    print(f"  format              {checkpoint.kind}")
    print(f"  SHA-256             {checkpoint.sha256}")
    print(f"  title               {checkpoint.card.title}")
    print(f"  published weights   {published}")
    if checkpoint.card.notes:
        print(f"  notes               {checkpoint.card.notes}")
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from sge_viz.checkpoints import convert

    with _failing():
        out = convert(arguments.path, arguments.out, half=arguments.half, force=arguments.force)
    print(out)
    return 0


@contextmanager
def _failing(interrupted: str | None = None) -> Iterator[None]:
    """Turn what a checkpoint's user must know into the command's failure."""
    from sge_viz.checkpoints import BadCheckpoint

    try:
        yield
    except BadCheckpoint as problem:
        raise Failure(str(problem)) from problem
    except KeyboardInterrupt:
        if interrupted is None:
            raise
        raise Failure(interrupted, code=130) from None


def _print_json(content: Any) -> None:
    json.dump(content, sys.stdout, indent=2)
    print()
