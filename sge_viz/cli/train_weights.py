"""`python -m sge_viz train measure | release`: what weights are worth, and their card."""

# ruff: noqa: PLC0415 (slow imports wait until the command runs, so that --help answers at once)

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from sge_viz.cli.train_options import chosen_device, failing


def add_measure(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the kind."""
    parser = kinds.add_parser("measure", help="measure weights on pictures kept out of training")
    parser.set_defaults(run=_measure)
    parser.add_argument("weights", metavar="WEIGHTS", help="a name or a file")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="what to write")
    parser.add_argument(
        "--accuracy",
        type=_named,
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="class folders, and what to call them; repeatable",
    )
    parser.add_argument("--pets", type=Path, metavar="FOLDER", help="pictures in cat and dog")
    parser.add_argument("--teacher", choices=("lite0", "lite2"), default="lite2", help="(lite2)")
    parser.add_argument(
        "--layers-on", type=Path, metavar="FOLDER", help="500 pictures of it: gates and groups"
    )
    parser.add_argument("--layer", action="append", help="block path (layer3.5 and layer4.2)")
    parser.add_argument("--workers", type=int, default=1, help="processes that decode (1)")
    parser.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")


def add_release(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the kind."""
    parser = kinds.add_parser("release", help="write weights with a card that says all of them")
    parser.set_defaults(run=_release)
    parser.add_argument("weights", metavar="WEIGHTS", type=Path, help="a run's weights.safetensors")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="what to write")
    parser.add_argument("--half", action="store_true", help="round to half precision")
    parser.add_argument("--quality", type=Path, metavar="FILE", help="what `measure` has written")
    parser.add_argument(
        "--say",
        action="append",
        default=[],
        metavar="KEY=TEXT",
        help="title, source, licence, paper, good_for, notes or more, repeatable",
    )


def _named(text: str) -> tuple[str, Path]:
    name, given, folder = text.partition("=")
    if not (name and given and folder):
        raise argparse.ArgumentTypeError("write it as imagenette=FOLDER")
    return name, Path(folder)


def _measure(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from sge_viz.capture import choose_layers
    from sge_viz.checkpoints import load_model
    from sge_viz.cli.run_options import progress_bar, write_json
    from sge_viz.resnet import layers as layers_of
    from sge_viz.statistics import Plan, evaluate, read_folder
    from sge_viz.statistics.accuracy import outputs_of
    from sge_viz.training.quality import layer_quality, pet_quality
    from sge_viz.training.teacher import Teacher, TeacherName

    found: dict[str, Any] = {}
    layers = tuple(arguments.layer or ("layer3.5", "layer4.2"))
    with failing():
        model = load_model(arguments.weights, chosen_device(arguments))
        outputs: int = model.fc.out_features  # type: ignore[union-attr, assignment]
        folders = {name: read_folder(path) for name, path in arguments.accuracy}
        for folder in folders.values():  # what cannot be measured is said before the work begins
            outputs_of(folder.classes, outputs)
        if arguments.pets is not None and outputs != 1000:
            raise ValueError(
                f"--pets needs ImageNet's 1,000 classes, and {arguments.weights} has {outputs}."
            )
        animals = None if arguments.pets is None else read_folder(arguments.pets)
        looked_at = None if arguments.layers_on is None else read_folder(arguments.layers_on)
        if looked_at is not None:
            choose_layers(layers, tuple(layer.path for layer in layers_of(model)))
        for name, folder in folders.items():
            plan = Plan(accuracy=True, channels_last=True)
            with progress_bar(f"accuracy on {name}") as bar:
                result = evaluate(
                    model,
                    folder,
                    plan,
                    workers=arguments.workers,
                    progress=bar.update,
                    begin=bar.begin,
                )
            assert result is not None
            values = {"pictures": result.pictures, "top1": result.top1, "top5": result.top5}
            found.setdefault("accuracy", {})[name] = values
        if animals is not None:
            teacher = Teacher(TeacherName[arguments.teacher.upper()])
            pets = pet_quality(model, animals, teacher, workers=arguments.workers)
            found["pets"] = asdict(pets)
        if looked_at is not None:
            qualities = layer_quality(model, looked_at, layers, workers=arguments.workers)
            found["layers"] = {layer: asdict(quality) for layer, quality in qualities.items()}
        write_json(found, str(arguments.json))
    print(json.dumps(found, indent=1))
    return 0


def _release(arguments: argparse.Namespace) -> int:
    from sge_viz.checkpoints.contents import read
    from sge_viz.training.release import release

    with failing():
        contents = read(arguments.weights, arguments.weights.name)
        card: dict[str, Any] = dict(contents.metadata)
        for entry in arguments.say:
            key, given, text = entry.partition("=")
            if not given:
                raise ValueError(f"--say {entry}: write it as title=My weights.")
            card[key] = text
        if arguments.quality is not None:
            try:
                card["quality"] = json.loads(arguments.quality.read_text("utf-8"))
            except ValueError as error:
                raise ValueError(
                    f"{arguments.quality} is not what `measure` writes: {error}."
                ) from error
        release(contents.tensors, arguments.out, card, half=arguments.half)
    print(arguments.out)
    return 0
