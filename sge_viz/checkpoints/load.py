"""A checkpoint file checked as a whole, and the network made of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from sge_viz.checkpoints.architecture import Architecture, assemble, check_fit, identify
from sge_viz.checkpoints.catalogue import PREPROCESSING, Card, Catalogue
from sge_viz.checkpoints.contents import read
from sge_viz.checkpoints.directory import directory, locate
from sge_viz.checkpoints.errors import BadCheckpoint
from sge_viz.checkpoints.files import sha256_of
from sge_viz.checkpoints.records import Record, recorded

_LONGEST = 2000


@dataclass(frozen=True)
class Checkpoint:
    """A file that has passed every check.

    Attributes:
        path: The file.
        sha256: Its hash.
        kind: Its format, such as "safetensors".
        architecture: The network that its tensors are, exactly.
        tensors: By the network's names, on the CPU, in the file's own dtypes.
        card: What is known of it.
    """

    path: Path
    sha256: str
    kind: str
    architecture: Architecture
    tensors: Mapping[str, Tensor]
    card: Card


def load_model(
    source: str | Path | Catalogue | None = None, device: str | torch.device | None = None
) -> nn.Module:
    """Load a network in float32 and eval mode, with what is known of its weights as `model.card`.

    Args:
        source: A catalogue name ("sge_resnet50"), the bare name of a file in the checkpoints
            directory, a path, or None for the catalogue's default, which needs no network.
        device: Where to put it; None for the GPU if there is one, otherwise the CPU.

    Raises:
        BadCheckpoint: There is no such checkpoint, or it cannot be used; its text says why.
        ValueError: The device does not exist here.
    """
    where = _device(device)
    checkpoint = inspect(source)
    model = assemble(checkpoint.tensors, checkpoint.architecture)
    model.card = checkpoint.card  # type: ignore[assignment]  # a plain attribute, not a submodule
    return model.to(where)


def inspect(source: str | Path | Catalogue | None = None) -> Checkpoint:
    """Find a checkpoint, read it, and check its hash, its tensors and their numbers.

    Raises:
        BadCheckpoint: As `load_model`.
    """
    path, card = locate(source)
    return inspect_file(path, card, path.name)


def inspect_file(path: Path, card: Card | None, label: str) -> Checkpoint:
    """Check one file, as the catalogue entry `card` if it claims to be one.

    Args:
        path: The file.
        card: The catalogue entry it must be, or None.
        label: What to call it in a sentence.

    Raises:
        BadCheckpoint: It cannot be used, or is not what `card` says.
    """
    contents = read(path, label)
    sha256 = sha256_of(path)
    if card is not None:
        _check_hash(card, sha256, label)
    architecture = identify(contents.tensors, label)
    check_fit(contents.tensors, architecture, label)
    if card is not None and _differs(card, architecture):
        raise BadCheckpoint(f"{label} holds {architecture} instead of {card.title}.")
    known = _known_card(card, sha256, path) or _own_card(contents.metadata, architecture, path)
    filled = replace(
        known,
        architecture=architecture.name,
        groups=architecture.groups,
        classes=architecture.classes,
        sha256=sha256,
    )
    return Checkpoint(path, sha256, contents.kind, architecture, contents.tensors, filled)


def _check_hash(card: Card, sha256: str, label: str) -> None:
    wanted = expected_sha256(card)
    if wanted is None or sha256 == wanted:
        return
    remedy = (
        f"Fetch it again with `python -m sge_viz checkpoints fetch {card.name} --force`; rename it "
        "if it is your own; delete its entry in hashes.json if the authors have replaced theirs."
        if card.url
        else f"Restore it with `git checkout -- checkpoints/{card.file}`."
    )
    raise BadCheckpoint(
        f"{label} has the wrong hash: SHA-256 {sha256} instead of {wanted}. It is damaged, or "
        f"another file. {remedy}"
    )


def expected_sha256(card: Card) -> str | None:
    """Return the hash that a catalogue entry's file must have: the catalogue's or the recorded."""
    if card.sha256 is not None:
        return card.sha256
    record = recorded(directory(), card)
    return record.sha256 if record else None


def _differs(card: Card, architecture: Architecture) -> bool:
    found = (architecture.name, architecture.groups, architecture.classes)
    return found != (card.architecture, card.groups, card.classes)


def _known_card(card: Card | None, sha256: str, path: Path) -> Card | None:
    """Return the record of a file that the catalogue knows, by hash or only by its name."""
    for entry in Catalogue:
        if entry.value.sha256 == sha256:
            return replace(entry.value, file=path.name)
    for entry in Catalogue:
        record = recorded(directory(), entry.value)
        if record is not None and sha256 in {record.sha256, *record.converted}:
            return _recorded_card(entry.value, record, sha256, path)
    if card is None:
        return None
    return replace(
        card,
        title=f"{path.name}, not confirmed as the published weights",
        source="not known; its file name is that of the published weights",
        published=False,
        top1=None,
        top5=None,
        notes=(
            "Nobody published a hash of these weights, and this file was not fetched by "
            f"`python -m sge_viz checkpoints fetch {card.name}`, so it may be any other file."
        ),
    )


def _recorded_card(card: Card, record: Record, sha256: str, path: Path) -> Card:
    how = "Converted from the file" if sha256 in record.converted else "The file"
    notes = f"{card.notes} {how} fetched from {record.source} on {record.date}.".strip()
    return replace(card, file=path.name, notes=notes)


def _own_card(metadata: Mapping[str, str], architecture: Architecture, path: Path) -> Card:
    """Make the record of a dropped-in file: what it says of itself, never that it is published."""

    def stated(key: str, otherwise: str) -> str:
        text = " ".join(metadata.get(key, "").split())[:_LONGEST]
        return text if text.isprintable() and text else otherwise

    title = stated("title", f"{architecture} from {path.name}")
    if metadata.get("published") == "true":
        title = f"{path.name}, not confirmed as the published weights"
    return Card(
        name=path.name,
        architecture=architecture.name,
        title=title,
        file=path.name,
        source=stated("source", "not stated"),
        licence=stated("licence", stated("license", "not stated")),
        paper=stated("paper", "not stated"),
        preprocessing=stated("preprocessing", PREPROCESSING),
        good_for=stated("good_for", "not stated"),
        notes=stated("notes", "A file from the checkpoints directory or of your own."),
    )


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).item()  # the only test that holds for every kind of device
    except (RuntimeError, NotImplementedError, AssertionError, TypeError) as error:
        gpu = "a GPU is there" if torch.cuda.is_available() else "there is no GPU"
        raise ValueError(
            f"The device {str(device)!r} cannot be used here ({gpu}): choose 'cpu', or 'cuda' "
            "where there is a GPU."
        ) from error
    return chosen
