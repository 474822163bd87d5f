"""`hashes.json`: which file was fetched under which catalogue name, by SHA-256.

The authors published no hashes. The first fetch therefore records the hash it met, and from then on
a file counts as the published one only if its hash is that one (or the catalogue's, once known), or
if it was converted by this software from such a file.
"""

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sge_viz.checkpoints.catalogue import Card
from sge_viz.checkpoints.errors import BadCheckpoint
from sge_viz.checkpoints.files import written_atomically

FILE = "hashes.json"


@dataclass(frozen=True)
class Record:
    """One fetched checkpoint.

    Attributes:
        sha256: Hash of the fetched file.
        source: Address it was fetched from.
        date: Day of the fetch, ISO 8601, UTC.
        converted: Hashes of the files that `convert` made from it.
    """

    sha256: str
    source: str
    date: str
    converted: tuple[str, ...] = ()


def recorded(folder: Path, card: Card) -> Record | None:
    """Return what is recorded of a catalogue entry in `folder`, or None.

    Raises:
        BadCheckpoint: `hashes.json` is damaged.
    """
    return _read(folder).get(card.name)


def remember_fetched(folder: Path, card: Card, sha256: str, source: str) -> None:
    """Record the hash of a fetched file, today, unless this very hash is recorded already."""
    records = _read(folder)
    known = records.get(card.name)
    if known is None or known.sha256 != sha256:
        records[card.name] = Record(sha256, source, datetime.now(UTC).date().isoformat())
        _write(folder, records)


def remember_converted(folder: Path, name: str, sha256: str) -> None:
    """Record the hash of a file converted from the recorded one of the catalogue entry `name`."""
    records = _read(folder)
    known = records.get(name)
    if known is not None and sha256 not in known.converted:
        records[name] = replace(known, converted=(*known.converted, sha256))
        _write(folder, records)


def _read(folder: Path) -> dict[str, Record]:
    try:
        entries = json.loads((folder / FILE).read_text("utf-8"))
        return {
            str(name): Record(
                str(entry["sha256"]),
                str(entry["source"]),
                str(entry["date"]),
                tuple(map(str, entry["converted"])),
            )
            for name, entry in entries.items()
        }
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise BadCheckpoint(
            f"{FILE} in the checkpoints directory is damaged: delete it, and fetch again with "
            "--force what shall count as published."
        ) from None


def _write(folder: Path, records: dict[str, Record]) -> None:
    text = json.dumps({name: asdict(record) for name, record in records.items()}, indent=2)
    written_atomically(folder / FILE, f"{text}\n".encode())
