"""Files as such: their hash, and writing them whole or not at all."""

import errno
import hashlib
import os
from pathlib import Path

from sge_viz.checkpoints.errors import BadCheckpoint


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal (30 ms for 50 MB, so nothing is cached)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def written_atomically(path: Path, content: bytes) -> Path:
    """Write a file through a temporary one beside it, so that it is there whole or not at all.

    Raises:
        BadCheckpoint: The disk is full, or the directory cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise cannot_write(path.name, error) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def cannot_write(name: str, error: OSError) -> BadCheckpoint:
    """Say in a sentence why the file `name` could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BadCheckpoint(f"The disk is full: {name} was not written. Make room and try again.")
    reason = error.strerror or type(error).__name__
    return BadCheckpoint(f"{name} cannot be written there: {reason}. Choose a writable directory.")
