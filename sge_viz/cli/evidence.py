"""`python -m sge_viz evidence PICTURE...`: exact evidence, interventions, faithfulness."""

# ruff: noqa: PLC0415 (slow imports wait until the command runs, so that --help answers at once)

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sge_viz.cli.failure import Failure

if TYPE_CHECKING:
    from torch import nn

    from sge_viz.evidence.faithfulness import Faithfulness
    from sge_viz.evidence.ledger import Ledger
    from sge_viz.evidence.outcome import Outcome
    from sge_viz.evidence.trace import Trace
    from sge_viz.explain import Explanation

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
"""What is taken for a picture in a folder."""

_EXAMPLES = """\
examples:
  python -m sge_viz evidence cat.jpg
  python -m sge_viz evidence cat.jpg --class "Egyptian cat" --class 282 --intervene off
  python -m sge_viz evidence cat.jpg --intervene mean@layer3.5 --intervene zeroed@layer4.2/17,21
  python -m sge_viz evidence cat.jpg --ablate layer3.5 --variant no-normalisation+groups=16 --json
  python -m sge_viz evidence pictures/ --faithfulness --layer layer4.2 --out study

interventions: KIND[=VALUE][@LAYER,...][/GROUP,...] with KIND one of
  off            the gate is 1            mean           its own mean over the positions
  shuffled=SEED  its values elsewhere     constant=0.5   one number
  zeroed         the group's branch is 0  unchanged      the identity
Without @LAYER in all layers, without /GROUP for all groups, which count from 0.

For every picture it writes NAME_evidence.json and figures. A picture that is refused is named, the
others are done, and the exit code is 1.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "evidence",
        help="say what each group adds to a class, and what happens without it",
        description="Say what each group adds to a class, exactly, and what happens without it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_run)
    parser.add_argument(
        "pictures", nargs="+", metavar="PICTURE", help="pictures, or folders of them"
    )
    parser.add_argument(
        "--class",
        dest="classes",
        action="append",
        metavar="CLASS",
        help="index, name or part of a name, repeatable (default: the network's first choice)",
    )
    for name, help in (
        ("--intervene", "replace gates (see below), repeatable"),
        ("--variant", "change the method: no-normalisation, initial-gamma, initial-beta, groups=N, "
         "joined by +; repeatable"),
        ("--ablate", "take away every group of this layer by itself, repeatable"),
    ):  # fmt: skip
        metavar = "LAYER" if name == "--ablate" else "WHAT"
        parser.add_argument(name, action="append", default=[], metavar=metavar, help=help)
    parser.add_argument(
        "--layer",
        help="also approximate this layer's groups by gradient x activation, and take the group "
        "whose maps --faithfulness measures from it (default: the last block)",
    )
    parser.add_argument(
        "--groups",
        metavar="N,N",
        help="groups to draw, counted from 0; the first is the one that --faithfulness measures "
        "(default: the strongest)",
    )
    parser.add_argument(
        "--faithfulness",
        action="store_true",
        help="deletion, insertion and ROAD for each kind of map (some 20 s a picture); over "
        "several pictures means with 95%% bootstrap intervals",
    )
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder (default: out)")
    parser.add_argument(
        "--size",
        default="published",
        help='"published" (224 px centre crop, default) or the whole picture at 224 to 896 px',
    )
    parser.add_argument("--checkpoint", help="a name or a file (default: the bundled weights)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: cuda if there is one)")
    parser.add_argument(
        "--format",
        action="append",
        choices=("png", "svg", "pdf"),
        help="of the figures, repeatable (default: png)",
    )
    parser.add_argument("--json", action="store_true", help="print the JSON, and nothing else")


def _run(arguments: argparse.Namespace) -> int:
    from sge_viz.capture import UnknownLayerError
    from sge_viz.checkpoints import BadCheckpoint, load_model

    try:
        model = load_model(arguments.checkpoint, arguments.device)
        study = _Study(arguments, model)
        arguments.out.mkdir(parents=True, exist_ok=True)
        return study.run(_files(arguments.pictures))
    except BadCheckpoint as error:
        raise Failure(str(error)) from error
    except (ValueError, UnknownLayerError) as error:  # a wrong class, group, layer, size, ...
        raise Failure(str(error), code=2) from error
    except OSError as error:
        raise Failure(f"{arguments.out} cannot be written: {error.strerror}.") from error


def _files(given: Iterable[str]) -> list[Path]:
    """Return the pictures themselves, with those of a folder in order of their names."""
    files: list[Path] = []
    for path in map(Path, given):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise ValueError(f"There is no picture in the folder {path.name or path}.")
            files += inside
        else:
            files.append(path)
    return files


class _Study:
    """One call of the command: what is asked, and what has been found so far."""

    def __init__(self, arguments: argparse.Namespace, model: nn.Module) -> None:
        from sge_viz.classes import find
        from sge_viz.evidence.interventions import acting_on, parse_intervention
        from sge_viz.evidence.trace import group_count, last_block, layer_paths
        from sge_viz.evidence.variants import parse_variant, variant
        from sge_viz.selection import parse_groups

        self._model = model
        self._arguments = arguments
        self._last = last_block(model)
        count: int = model.fc.out_features  # type: ignore[union-attr, assignment]
        self._classes = [find(text, count).index for text in arguments.classes or []]
        self._interventions = [parse_intervention(text) for text in arguments.intervene]
        for intervention in self._interventions:
            acting_on(model, self._last, [intervention])
        self._variants = [variant(model, **parse_variant(text)) for text in arguments.variant]
        self._layer = layer_paths(model, arguments.layer or self._last)[0]
        self._ablate = layer_paths(model, arguments.ablate) if arguments.ablate else ()
        self._groups: list[int] | None = None
        if arguments.groups:
            self._groups = parse_groups(arguments.groups, group_count(model, self._last))
        self._kinds: list[str] = arguments.format or ["png"]
        self._reports: dict[str, dict[str, Any]] = {}
        self._refused: dict[str, str] = {}
        self._faithfulness: list[dict[str, Faithfulness]] = []
        self._title = ""

    def run(self, files: list[Path]) -> int:
        """Do every picture, then what is said of all of them; return the exit code."""
        from tqdm import tqdm

        from sge_viz.images import BadPicture

        for path in tqdm(files, unit="picture", disable=None, leave=False):
            try:
                self._picture(path)
            except BadPicture as error:
                self._refused[path.name] = str(error)
                tqdm.write(f"sge-viz: {path}: {error}", file=sys.stderr)
        summary = self._summary() if self._faithfulness else None
        if self._arguments.json:
            everything = {"pictures": self._reports, "refused": self._refused}
            print(json.dumps(everything | ({"faithfulness": summary} if summary else {}), indent=2))
        else:
            print(
                f"{len(self._reports)} done, {len(self._refused)} refused; "
                f"files in {self._arguments.out}{os.sep}"
            )
        return 1 if self._refused else 0

    def _picture(self, path: Path) -> None:
        from sge_viz import draw_evidence, export, export_evidence
        from sge_viz.evidence.gradients import approximate_evidence
        from sge_viz.evidence.ledger import ledger
        from sge_viz.evidence.trace import trace
        from sge_viz.explain import explain
        from sge_viz.images import open_picture
        from sge_viz.selection import parse_size

        model = self._model
        picture = open_picture(path)
        explanation = explain(model, picture, parse_size(self._arguments.size), [self._last])
        passed = trace(model, explanation.input.tensor)
        book = ledger(model, passed, self._classes or None)
        indices = [label.index for label in book.classes]
        name = self._name(path)
        self._title = explanation.card.title
        report = export.manifest(explanation, self._last)
        del report["definitions"]  # of norms and gates, which are not in this file
        report["ledger"] = export_evidence.ledger_report(book)
        if self._layer != self._last:
            approximate = approximate_evidence(model, passed, self._layer, indices)
            report["approximation"] = export_evidence.approximation_report(approximate)
        outcomes = self._outcomes(passed)
        report["changes"] = [export_evidence.outcome_report(one, indices) for one in outcomes]
        report["ablations"] = self._ablations(passed, indices)
        if self._arguments.faithfulness:
            report["faithfulness"] = self._measure(passed, indices[0], name)
        for kind in self._kinds:
            for index in indices:
                drawn = draw_evidence.contributions(explanation, book, index, kind)
                self._save(f"{name}_class{index}_contributions.{kind}", drawn)
                drawn = draw_evidence.evidence(explanation, book, index, self._groups, kind)
                self._save(f"{name}_class{index}_evidence.{kind}", drawn)
            if outcomes:
                drawn = draw_evidence.answers(explanation, outcomes, kind)
                self._save(f"{name}_changes.{kind}", drawn)
        self._reports[name] = report
        self._save(f"{name}_evidence.json", json.dumps(report, indent=2).encode())
        if not self._arguments.json:
            _tell(path, explanation, book, outcomes)

    def _outcomes(self, passed: Trace) -> list[Outcome]:
        from sge_viz.evidence.outcome import of_variant, what_if

        outcomes = [what_if(self._model, passed, one) for one in self._interventions]
        return outcomes + [of_variant(changed, passed) for changed in self._variants]

    def _ablations(self, passed: Trace, indices: list[int]) -> list[dict[str, Any]]:
        from sge_viz.evidence.ablations import ablate_groups
        from sge_viz.export_evidence import ablations_report

        return [
            ablations_report(ablate_groups(self._model, passed, layer), indices)
            for layer in self._ablate
        ]

    def _measure(self, passed: Trace, index: int, name: str) -> dict[str, Any]:
        from sge_viz import draw_evidence
        from sge_viz.evidence.faithfulness import faithfulness
        from sge_viz.evidence.saliency import saliency
        from sge_viz.export_evidence import faithfulness_report

        group = self._groups[0] if self._groups else None
        found = saliency(self._model, passed.input, self._layer, group, index)
        results = faithfulness(self._model, passed.input, found.maps, index)
        self._faithfulness.append(results)
        for kind in self._kinds:
            drawn = draw_evidence.curves(results, found.label.name, self._title, kind)
            self._save(f"{name}_faithfulness.{kind}", drawn)
        return faithfulness_report(found, results)

    def _summary(self) -> dict[str, Any]:
        from sge_viz import draw_evidence
        from sge_viz.evidence.summary import summarise
        from sge_viz.export_evidence import summary_report

        table = summarise(self._faithfulness)
        for kind in self._kinds:
            self._save(f"faithfulness.{kind}", draw_evidence.summary(table, self._title, kind))
        report = summary_report(table)
        self._save("faithfulness.json", json.dumps(report, indent=2).encode())
        return report

    def _name(self, path: Path) -> str:
        """Return a name for the picture's files; one that is taken gets a number."""
        name, number = path.stem, 2
        while name in self._reports:
            name, number = f"{path.stem}-{number}", number + 1
        return name

    def _save(self, name: str, data: bytes) -> None:
        """Write through a neighbour file, so that a file of this name is always whole."""
        partial = self._arguments.out / f"{name}.part"
        partial.write_bytes(data)
        partial.replace(self._arguments.out / name)


def _tell(path: Path, explanation: Explanation, book: Ledger, outcomes: list[Outcome]) -> None:
    """Print the ledger's largest entries and what every change did."""
    from tqdm import tqdm

    first = explanation.predictions[0]
    lines = [f"{path}: {first.label} {first.probability:.1%}"]
    for row, label in enumerate(book.classes):
        values = book.contributions[0, :, row]
        lines.append(
            f"  {label.name}: logit {book.logits[0, row]:.2f} = bias {book.bias[row]:+.2f} "
            f"+ {len(values)} groups"
        )
        for group in values.abs().topk(min(5, len(values))).indices.tolist():
            sge, shortcut = book.through_sge[0, group, row], book.through_shortcut[0, group, row]
            lines.append(
                f"    group {group:3}: {values[group]:+.3f} "
                f"(through SGE {sge:+.3f}, through the shortcut {shortcut:+.3f})"
            )
    for outcome in outcomes:
        lines.append(f"  {outcome.what}")
        for label in book.classes:
            before, after = (
                float(one.probabilities[0, label.index]) for one in (outcome.before, outcome.after)
            )
            now = outcome.after.top5[0][0]
            lines.append(
                f"    {label.name}: {before:.1%} -> {after:.1%}; "
                f"first is {now.label} {now.probability:.1%}"
            )
    tqdm.write("\n".join(lines))
