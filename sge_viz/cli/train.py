"""`python -m sge_viz train pack | distil | supervised | measure | release`: make weights."""

# ruff: noqa: PLC0415 (slow imports wait until the command runs, so that --help answers at once)

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sge_viz.cli import train_pack, train_weights
from sge_viz.cli.run_options import first_process, worker_count
from sge_viz.cli.train_options import chosen_device, failing

if TYPE_CHECKING:
    import torch

    from sge_viz.training.loop import Report
    from sge_viz.training.settings import Settings
    from sge_viz.training.task import Task

_EXAMPLES = """\
examples:
  python -m sge_viz train pack ~/imagenette/train ~/pets --hold-out 2000 --out pack
  python -m sge_viz train pack ~/pets --means cat=281-285 --means dog=151-268 --out pack
  python -m sge_viz train distil pack --phases 96:0.4,128:0.3,224:0.3 --out run
  python -m sge_viz train distil pack --start run/weights.safetensors --sge-rate 10 --out run2
  python -m sge_viz train distil pack --architecture resnet50 --out twin
  python -m sge_viz train supervised ~/imagenet/train --out run
  torchrun --nproc-per-node 4 -m sge_viz train supervised ~/imagenet/train --out run

The same command again goes on where a stopped run was. RUN/weights.safetensors is the result, with
its settings in its card; RUN/log.jsonl tells how it went.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "train",
        help="train a network: distil it from a pretrained teacher, or from labels",
        description="Train a network: distil it from a pretrained teacher, or from labels.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(metavar="KIND", required=True)
    train_pack.add(kinds)
    _add_distil(kinds)
    _add_supervised(kinds)
    train_weights.add_measure(kinds)
    train_weights.add_release(kinds)


def _add_distil(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser("distil", help="learn from a teacher")
    parser.set_defaults(run=_distil)
    parser.add_argument("pack", metavar="PACK", type=Path, help="what `train pack` has made")
    _add_common(parser)
    parser.add_argument(
        "--label-share",
        type=float,
        default=0.5,
        help="share of what is known of a label in the target; the rest is the teacher's (0.5)",
    )
    parser.add_argument("--blur", type=float, default=0.0, help="share of blurred views (0)")
    parser.add_argument(
        "--repeat",
        action="append",
        default=[],
        type=_times,
        metavar="SOURCE=N",
        help="show a source's pictures N times a pass, repeatable",
    )
    parser.set_defaults(
        images=250_000,
        batch=64,
        phases="96:0.35,128:0.3,224:0.35",
        optimiser="adamw",
        rate=1e-3,
        weight_decay=0.05,
        schedule="cosine",
        warm_up=0.04,
        ema=0.998,
        area=(0.35, 1.0),
    )


def _add_supervised(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser(
        "supervised", help="learn from class folders, by default as published (100 epochs)"
    )
    parser.set_defaults(run=_supervised)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="class folders")
    _add_common(parser)
    parser.add_argument("--epochs", type=float, default=100, help="passes over the pictures (100)")
    parser.add_argument("--workers", type=int, help="processes that decode (default: the cores)")
    parser.set_defaults(
        images=None,
        batch=256,
        phases="224:1",
        optimiser="sgd",
        rate=0.1,
        weight_decay=1e-4,
        schedule="steps",
        warm_up=0.0,
        ema=0.0,
        area=(0.08, 1.0),
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--architecture", help="such as resnet50 (default: that of --start, or sge_resnet50)"
    )
    parser.add_argument("--start", metavar="WEIGHTS", help="go on from a checkpoint's weights")
    sge = parser.add_mutually_exclusive_group()
    sge.add_argument(
        "--with-sge",
        dest="sge",
        action="store_true",
        default=None,
        help="put SGE into the plain ResNet of --start, whose answers stay the same at first",
    )
    sge.add_argument(
        "--without-sge",
        dest="sge",
        action="store_false",
        default=None,
        help="take SGE out of the weights of --start",
    )
    parser.add_argument(
        "--images", type=int, help="views in all (distil: 250000; supervised: those of --epochs)"
    )
    parser.add_argument("--batch", type=int, help="views a step, over all processes (%(default)s)")
    parser.add_argument("--phases", help="side:share,... of the views, in order (%(default)s)")
    parser.add_argument("--optimiser", choices=("adamw", "sgd"), help="(%(default)s)")
    parser.add_argument("--rate", type=float, help="largest learning rate (%(default)s)")
    parser.add_argument(
        "--sge-rate", type=float, default=1.0, help="factor on it for gamma and beta (1)"
    )
    parser.add_argument("--momentum", type=float, default=0.9, help="of SGD (0.9)")
    parser.add_argument("--weight-decay", type=float, help="(%(default)s)")
    parser.add_argument("--schedule", choices=("cosine", "steps"), help="(%(default)s)")
    parser.add_argument("--milestones", default="0.3,0.6,0.9", help="of steps (0.3,0.6,0.9)")
    parser.add_argument("--warm-up", type=float, help="share of the views (%(default)s)")
    parser.add_argument(
        "--ema", type=float, help="factor of the moving average; 0 for none (%(default)s)"
    )
    parser.add_argument(
        "--area",
        type=_pair,
        metavar="LEAST,LARGEST",
        help="share of the picture in a view %(default)s",
    )
    parser.add_argument("--seed", type=_seed, default=0, help="of all that is random (0)")
    parser.add_argument(
        "--precision",
        choices=("bfloat16", "float32"),
        help="of the network's passes (bfloat16 where the hardware has it, else float32)",
    )
    parser.add_argument(
        "--no-compile", action="store_true", help="do without torch.compile of SGE (a C++ compiler)"
    )
    parser.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")
    parser.add_argument(
        "--save-every", type=float, default=300, metavar="S", help="seconds between savings (300)"
    )


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError("give a whole number from 0 to 2**63 - 1")
    return int(text)


def _times(text: str) -> tuple[str, int]:
    name, _, times = text.rpartition("=")
    if not name or not times.isdecimal():
        raise argparse.ArgumentTypeError("write it as imagewoof=2")
    return name, int(times)


def _pair(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError("give two numbers, such as 0.35,1") from None
    return low, high


def _distil(arguments: argparse.Namespace) -> int:

    from sge_viz.training.distil import Distillation
    from sge_viz.training.packing import open_pack

    def task(network: Any, settings: Settings, device: torch.device) -> Task:
        return Distillation(network, packed, device)

    with failing():
        packed = open_pack(arguments.pack)
        about = {"teacher": packed.teacher, "material": packed.sha256}
        return _train(arguments, "distil", 1000, arguments.images, task, about)


def _supervised(arguments: argparse.Namespace) -> int:

    from sge_viz.statistics import read_folder
    from sge_viz.training.settings import BadSettings
    from sge_viz.training.supervised import Supervised

    def task(network: Any, settings: Settings, device: torch.device) -> Task:
        return Supervised(network, folder, device, worker_count(arguments.workers))

    with failing():
        folder = read_folder(arguments.folder)
        if not 0 < arguments.epochs < math.inf:
            raise BadSettings(f"--epochs {arguments.epochs}: give a number above 0.")
        images = arguments.images
        if images is None:
            images = max(1, round(arguments.epochs * len(folder)))
        about = {"material": folder.sha256, "class_names": list(folder.classes)}
        classes = max(1, len(folder.classes))  # the task refuses a folder without any in words
        return _train(arguments, "supervised", classes, images, task, about)


def _train(
    arguments: argparse.Namespace,
    kind: str,
    classes: int,
    images: int,
    make: Callable[[Any, Settings, torch.device], Task],
    about: dict[str, Any],
) -> int:
    import torch

    from sge_viz.statistics.team import join
    from sge_viz.training.loop import train
    from sge_viz.training.network import begin, go_on
    from sge_viz.training.release import commit, release
    from sge_viz.training.settings import BadSettings

    made_with = commit()
    if arguments.start is None:
        if arguments.sge is not None:
            raise BadSettings(
                "--with-sge and --without-sge change the weights of --start: give them, or choose "
                "an --architecture."
            )
        arguments.architecture = arguments.architecture or "sge_resnet50"
        network, start = begin(arguments.architecture, classes, arguments.seed), None
    else:
        network, name, start = go_on(arguments.start, arguments.sge)
        if arguments.architecture not in (None, name):
            raise BadSettings(
                f"{arguments.start} holds a {name}, not a {arguments.architecture}: leave "
                "--architecture out."
            )
        arguments.architecture = name
    settings = _settings(arguments, kind, images, start)
    with join() as team:
        device = torch.device(chosen_device(arguments))
        torch.manual_seed(settings.seed)  # what is trained beside the network begins alike
        task = make(network, settings, device)
        with _bar(settings) as tell:
            trained = train(
                task,
                settings,
                arguments.out,
                device,
                team=team,
                material=about["material"],
                save_every=arguments.save_every,
                tell=tell,
            )
        if team.rank == 0:
            made: dict[str, Any] = {"recipe": settings.text(), "steps": str(settings.steps)}
            made |= {"commit": made_with, "data": task.sources}
            path = arguments.out / "weights.safetensors"
            release(trained.state_dict(), path, about | made)
            print(f"{settings.steps * settings.batch} views learnt: {path}")
    return 0


def _settings(arguments: argparse.Namespace, kind: str, images: int, start: str | None) -> Settings:
    from sge_viz.training.settings import BadSettings, Settings, usual_precision

    device = chosen_device(arguments)
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if not arguments.no_compile and device == "cpu" and shutil.which(compiler) is None:
        raise BadSettings(
            f"There is no C++ compiler ({compiler}) here, which torch.compile needs: install one, "
            "or go without it (--no-compile)."
        )
    try:
        phases = tuple(
            (int(side), float(share))
            for side, share in (part.split(":") for part in arguments.phases.split(","))
        )
        milestones = tuple(float(part) for part in arguments.milestones.split(",") if part)
    except ValueError as error:
        raise BadSettings(
            f"--phases {arguments.phases} --milestones {arguments.milestones}: write them as "
            "96:0.4,224:0.6 and 0.3,0.6,0.9."
        ) from error
    return Settings(
        task=kind,
        architecture=arguments.architecture,
        start=start and start + {None: "", True: " with SGE", False: " without SGE"}[arguments.sge],
        images=images,
        batch=arguments.batch,
        phases=phases,
        optimiser=arguments.optimiser,
        rate=arguments.rate,
        sge_rate=arguments.sge_rate,
        momentum=arguments.momentum,
        weight_decay=arguments.weight_decay,
        schedule=arguments.schedule,
        milestones=milestones,
        warm_up=arguments.warm_up,
        ema=arguments.ema,
        label_share=getattr(arguments, "label_share", 0.0),
        repeats=tuple(getattr(arguments, "repeat", ())),
        area=arguments.area,
        blur=getattr(arguments, "blur", 0.0),
        seed=arguments.seed,
        precision=arguments.precision or usual_precision(device),
        compile=not arguments.no_compile,
    )


@contextmanager
def _bar(settings: Settings) -> Iterator[Callable[[Report], None]]:
    """Show how far a run is, with views a second, the loss and the time left."""
    from tqdm import tqdm

    total = settings.steps * settings.batch
    layout = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} views{postfix}"
    live = first_process() and sys.stderr.isatty()
    with tqdm(total=total, disable=not live, bar_format=layout) as bar:

        def tell(report: Report) -> None:
            minutes, seconds = divmod(round(report.seconds_left), 60)
            values = ", ".join(f"{name} {value:.3f}" for name, value in report.values.items())
            text = (
                f"{report.side} px, {values}, {report.views_per_second:.1f} images/s, "
                f"{minutes}:{seconds:02} left"
            )
            if live:
                bar.set_postfix_str(text, refresh=False)
                bar.update(report.step * settings.batch - bar.n)
            else:
                done = report.step * settings.batch
                print(f"{done}/{total} views: {text}", file=sys.stderr, flush=True)

        yield tell
