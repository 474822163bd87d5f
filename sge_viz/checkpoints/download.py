"""Downloads a published checkpoint: resumable, checked before it gets its name.

gdown does the transfer from Google Drive and from mirrors. It keeps an interrupted one in a file
that ends in .part, and goes on from there with an HTTP Range request the next time.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import gdown
import requests
from filelock import FileLock, Timeout
from gdown.exceptions import DownloadCancelled, DownloadError, FileURLRetrievalError

from sge_viz.checkpoints.catalogue import Card, find
from sge_viz.checkpoints.directory import directory, path_of
from sge_viz.checkpoints.errors import BadCheckpoint
from sge_viz.checkpoints.files import cannot_write
from sge_viz.checkpoints.load import Checkpoint, expected_sha256, inspect_file
from sge_viz.checkpoints.records import remember_fetched

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes in all (None if the server does not say)."""

RETRIES = 3
TIMEOUT = 30.0
"""Seconds to wait for a server between two pieces of a file."""

PATIENCE = 300.0
"""Seconds until the first piece of a file must have come."""

# What gdown raises on an unforeseen page of Google Drive's, or when such pages do not end.
_UNKNOWN_PAGE = (LookupError, AssertionError, DownloadCancelled)


@dataclass(frozen=True)
class Fetched:
    """What a fetch came to.

    Attributes:
        path: The file.
        sha256: Its hash.
        downloaded: False if it was there already.
        first_seen: True if nobody had recorded its hash before, so there was none to compare with.
    """

    path: Path
    sha256: str
    downloaded: bool
    first_seen: bool


def fetch(
    name: str,
    url: str | None = None,
    *,
    sha256: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Fetched:
    """Download a catalogue entry into the checkpoints directory, unless it is there and intact.

    An interrupted download is kept and continued by the next call. A finished one gets its name
    only after it has been read as the right network with the right hash. Where no hash is known,
    the one met first is recorded in `hashes.json`, and later files must have it.

    Args:
        name: The catalogue's name.
        url: A mirror to use instead of the catalogue's address.
        sha256: A hash that the file must have, beside the known one.
        force: Download it again even if it is there.
        progress: Told how far the transfer is.

    Raises:
        BadCheckpoint: It cannot be fetched, or what came is not it; its text says why.
    """
    card = find(name)
    if card is None:
        raise BadCheckpoint(f"The catalogue has no checkpoint called {name!r}.")
    present = path_of(card)
    if present.is_file() and not force:
        sha = _checked(present, card, sha256).sha256
        return Fetched(present, sha, downloaded=False, first_seen=expected_sha256(card) is None)
    address = _address(card, url)
    folder = directory()
    first_seen = expected_sha256(card) is None
    with _alone_in(folder, card):
        part = _download(address, folder, card, progress)
        try:
            checkpoint = _checked(part, card, sha256)
        except BadCheckpoint:
            part.unlink()
            raise
        remember_fetched(folder, card, checkpoint.sha256, _named(address, card))
        part.chmod(0o644)  # the download's own rights let nobody else read it
        path = part.replace(folder / card.file)
        _remove(folder, f"{card.file}.")
    return Fetched(path, checkpoint.sha256, downloaded=True, first_seen=first_seen)


def _address(card: Card, url: str | None) -> str:
    address = url or card.url
    if address is None:
        raise BadCheckpoint(
            f"{card.file} comes with the repository and has no address to fetch it from: restore "
            f"it with `git checkout -- checkpoints/{card.file}`."
        )
    if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
        raise BadCheckpoint(f"{address} is not an address that begins with http:// or https://.")
    return address


def _named(address: str, card: Card) -> str:
    """Return the address as it may be shown to anyone: a mirror's without password and token."""
    if address == card.url:
        return address
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


@contextmanager
def _alone_in(folder: Path, card: Card) -> Iterator[None]:
    """Hold the directory, so that two fetches never write one file, and speak for the disk."""
    mark = folder / ".fetching.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(mark, blocking=False):
            try:
                yield
            finally:
                mark.unlink(missing_ok=True)
    except Timeout:
        raise BadCheckpoint(
            "Another fetch is writing into the checkpoints directory: wait until it is done."
        ) from None
    except OSError as error:
        raise cannot_write(card.file, error) from error


def _checked(path: Path, card: Card, sha256: str | None) -> Checkpoint:
    checkpoint = inspect_file(path, card, card.file)
    if sha256 is not None and checkpoint.sha256 != sha256.lower():
        raise BadCheckpoint(
            f"{card.file} has the wrong hash: SHA-256 {checkpoint.sha256} instead of {sha256}."
        )
    return checkpoint


def _download(address: str, folder: Path, card: Card, progress: Progress | None) -> Path:
    """Return the finished, unchecked download, which still ends in .part."""
    try:
        # The source is in the name: a download is never continued from another one.
        source = hashlib.sha256(f"{address} {_version(address)}".encode()).hexdigest()[:8]
        part = folder / f"{card.file}.{source}.part"
        try:
            _transfer(address, part, progress)
        except DownloadError as error:
            if isinstance(error, FileURLRetrievalError) or error.__cause__ is not None:
                raise
            # The server cannot continue where the last transfer stopped: begin again.
            _remove(folder, part.name)
            _transfer(address, part, progress)
    except (requests.RequestException, DownloadError, *_UNKNOWN_PAGE) as error:
        raise BadCheckpoint(_failure(address, folder, card, error)) from error
    return part


def _transfer(address: str, part: Path, progress: Progress | None) -> None:
    # gdown follows Drive's confirmation page for ever if the next page is that page again.
    endless = threading.Event()
    watch = threading.Timer(PATIENCE, endless.set)
    watch.daemon = True

    def moved(here: int, total: int | None) -> None:
        watch.cancel()
        if progress is not None:
            progress(here, total)

    watch.start()
    try:
        gdown.download(
            address,
            str(part),
            quiet=True,
            use_cookies=False,
            resume=True,
            progress=moved,
            timeout=TIMEOUT,
            retries=RETRIES,
            cancel=endless,
        )
    finally:
        watch.cancel()


def _version(address: str) -> str:
    """Return what the server says to tell one version of a mirror's file from the next."""
    if urlsplit(address).hostname in ("drive.google.com", "docs.google.com"):
        return ""
    answer = requests.head(address, timeout=TIMEOUT, allow_redirects=True)
    if not answer.ok:  # some servers do not know HEAD; other trouble shows in the download
        with requests.get(address, timeout=TIMEOUT, stream=True) as answer:
            pass
    return " ".join(answer.headers.get(key, "") for key in ("ETag", "Last-Modified"))


def _remove(folder: Path, stem: str) -> None:
    for piece in folder.glob(f"{stem}*.part"):
        piece.unlink()


def _failure(address: str, folder: Path, card: Card, error: Exception) -> str:
    """Say in a sentence why a transfer failed, and what to do."""
    host = urlsplit(address).hostname
    if isinstance(error, (FileURLRetrievalError, *_UNKNOWN_PAGE)):
        said = "a page that is not known."
        if isinstance(error, FileURLRetrievalError):
            said = " ".join(str(error.__context__ or error).split())[:300]
        return (
            f"{host} did not hand out {card.file}, but answered: {said} Often too many "
            f"people have downloaded it today: try again tomorrow, or open {address} in a browser "
            f"and save it as {card.file} in the checkpoints directory, or give a mirror with --url."
        )
    if isinstance(error, requests.HTTPError) and error.response is not None:
        answer = f"{error.response.status_code} {error.response.reason}"
        return f"{host} answered {answer!r} for {card.file}. Check the address: {address}"
    here = sum(piece.stat().st_size for piece in folder.glob(f"{card.file}.*.part"))
    kept = (
        f"{here / 1e6:.1f} MB are kept: the same command goes on from there."
        if here
        else "nothing has come yet: try again later."
    )
    return f"The connection to {host} failed or broke off. Of {card.file}, {kept}"
