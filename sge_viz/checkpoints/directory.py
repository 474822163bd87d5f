"""The checkpoints directory: where it is, what lies in it, and which file a name means."""

import os
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from sge_viz.checkpoints.catalogue import Card, Catalogue, find
from sge_viz.checkpoints.errors import BadCheckpoint

VARIABLE = "SGE_VIZ_CHECKPOINTS"
SUFFIXES = (".pth", ".pt", ".tar", ".safetensors")
_OWN = Path(__file__).resolve().parents[2] / "checkpoints"
_LONGEST_TITLE = 120


@dataclass(frozen=True)
class Available:
    """One checkpoint that can be loaded from here, for a menu.

    Attributes:
        name: The catalogue's name, or the bare name of a file that someone dropped in.
        title: One line that says what it is.
        path: The file.
        card: Its catalogue record; None for a dropped-in file.
    """

    name: str
    title: str
    path: Path
    card: Card | None = None


def directory() -> Path:
    """Return the checkpoints directory: `SGE_VIZ_CHECKPOINTS`, or the one beside the package."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen) if chosen else _OWN


def path_of(card: Card) -> Path:
    """Return where a catalogue entry's file is, or would be.

    The default comes with the repository, so it is also found when the directory is another one.
    """
    path = directory() / card.file
    if not path.is_file() and card.url is None and (_OWN / card.file).is_file():
        return _OWN / card.file
    return path


def available() -> list[Available]:
    """List what can be loaded: the catalogue's files that are here, then files dropped in.

    Only names and the headers of safetensors files are read, so a broken file is listed too; it
    tells what is wrong with it when it is loaded.
    """
    cards = [entry.value for entry in Catalogue]
    present = [
        Available(card.name, card.title, path_of(card), card)
        for card in cards
        if path_of(card).is_file()
    ]
    known = {card.file for card in cards}
    try:
        files = sorted(path for path in directory().iterdir() if _is_dropped_in(path, known))
    except OSError:
        files = []
    return present + [Available(path.name, _title(path), path) for path in files]


def locate(source: str | Path | Catalogue | None) -> tuple[Path, Card | None]:
    """Return the file that `source` means, and its record if it is the catalogue's.

    A file in the checkpoints directory under a catalogue entry's file name is that entry.

    Args:
        source: A catalogue entry or its name, the bare name of a file in the checkpoints directory,
            a path, or None for the catalogue's default. A catalogue name wins over a file.

    Raises:
        BadCheckpoint: There is no such name, or its file is not there.
    """
    card = _card(source)
    if card is not None:
        path = path_of(card)
        if not path.is_file():
            raise BadCheckpoint(_absent(card))
        return path, card
    given = str(source)
    bare = bool(given) and Path(given).name == given
    paths = (Path(given), directory() / given) if bare else (Path(given),)
    for path in paths:
        if given and _exists(path):
            return path, _entry_at(path)
    raise BadCheckpoint(_unknown(given))


def _card(source: str | Path | Catalogue | None) -> Card | None:
    if source is None:
        return Catalogue.DEFAULT.value
    if isinstance(source, Catalogue):
        return source.value
    return find(source) if isinstance(source, str) else None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long for the file system, a NUL in it
        return False


def _entry_at(path: Path) -> Card | None:
    for entry in Catalogue:
        if entry.value.file == path.name and path_of(entry.value).resolve() == path.resolve():
            return entry.value
    return None


def _absent(card: Card) -> str:
    if card.url is None:
        return (
            f"{card.file} is missing from the checkpoints directory. It comes with the repository: "
            f"restore it with `git checkout -- checkpoints/{card.file}`."
        )
    return (
        f"{card.title}: {card.file} is not in the checkpoints directory yet. "
        f"Fetch it with `python -m sge_viz checkpoints fetch {card.name}`."
    )


def _unknown(given: str) -> str:
    names = ", ".join(entry.value.name for entry in Catalogue)
    return (
        f"There is no checkpoint called {given[:200]!r}: no such file, and the catalogue holds "
        f"{names}."
    )


def _is_dropped_in(path: Path, known: set[str]) -> bool:
    return (
        path.suffix.lower() in SUFFIXES
        and path.name not in known
        and not path.name.startswith(".")
        and path.is_file()
    )


def _title(path: Path) -> str:
    """Return the title that a safetensors file's own card states, otherwise the file's name."""
    if path.suffix.lower() != ".safetensors":
        return path.name
    try:
        with safe_open(path, framework="numpy") as file:
            stated = " ".join((file.metadata() or {}).get("title", "").split())[:_LONGEST_TITLE]
    except (SafetensorError, OSError):
        return path.name
    return f"{path.name} ({stated})" if stated and stated.isprintable() else path.name
