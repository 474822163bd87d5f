"""Bytes in, tensors out: what a checkpoint file holds, told by its content and never by its name.

Pickles are read with torch's `weights_only=True` and nothing else. What that reader refuses is
refused here, by name.
"""

import pickletools
import re
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sge_viz.checkpoints.errors import BadCheckpoint

LEGACY, ZIP, SAFETENSORS = "torch.save (legacy)", "torch.save (zip)", "safetensors"

# torch warns of a pickle protocol that the sentence below the failure explains.
warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")  # left by DataParallel and by torch.compile
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_OTHERS = (
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"%PDF", "a PDF, not a checkpoint"),
    (b"version https://git-lfs", "only Git LFS's pointer to the file: run `git lfs pull`"),
)
_HARMLESS = ("torch.", "collections.OrderedDict", "_codecs.encode")


@dataclass(frozen=True)
class Contents:
    """What a checkpoint file holds.

    Attributes:
        tensors: By name, without DataParallel's prefix, on the CPU, in the file's own dtypes.
        metadata: A safetensors file's own strings; empty for the other formats.
        kind: LEGACY, ZIP or SAFETENSORS.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    kind: str


def read(path: Path, label: str) -> Contents:
    """Read a checkpoint: the published format, a plain state dict, or safetensors.

    Args:
        path: The file.
        label: What to call it in a sentence.

    Raises:
        BadCheckpoint: It is no checkpoint, damaged, or holds what must not be loaded.
    """
    head = _head(path, label)
    if head[:4] == b"PK\x03\x04":
        _check_zip(path, label)
        return Contents(_tensors(_unpickled(path, label, head), label), {}, ZIP)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return _read_safetensors(path, label)
    return Contents(_tensors(_unpickled(path, label, head), label), {}, LEGACY)


def _head(path: Path, label: str) -> bytes:
    """Return the first bytes of a file, unless they tell that it is something else."""
    try:
        with path.open("rb") as file:
            head = file.read(2048)
    except FileNotFoundError:
        raise BadCheckpoint(f"{label} does not exist.") from None
    except IsADirectoryError:
        raise BadCheckpoint(f"{label} is a directory, not a checkpoint file.") from None
    except OSError as error:
        raise BadCheckpoint(f"{label} cannot be read: {error.strerror}.") from None
    if not head:
        raise BadCheckpoint(f"{label} is empty (0 bytes).")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<":
        raise BadCheckpoint(
            f"{label} is a web page, not a checkpoint: the download was answered with a page "
            "instead of the file. Delete it and download the file again."
        )
    for magic, what in _OTHERS:
        if head.startswith(magic):
            raise BadCheckpoint(f"{label} is {what}.")
    if head[257:262] == b"ustar" and tarfile.is_tarfile(path):
        raise BadCheckpoint(f"{label} is a tar archive: unpack it first.")
    return head


def _check_zip(path: Path, label: str) -> None:
    """Find what torch does not tell clearly, or at all: truncation, checksums, TorchScript."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.rpartition("/")[2] for name in archive.namelist()}
            damaged = archive.testzip()
    except (zipfile.BadZipFile, RuntimeError, OSError, EOFError, ValueError, zlib.error):
        raise BadCheckpoint(_damaged(label)) from None
    if "constants.pkl" in members:
        raise BadCheckpoint(
            f"{label} is a TorchScript program, not a checkpoint: save the model's state_dict()."
        )
    if "data.pkl" not in members:
        raise BadCheckpoint(f"{label} is a ZIP archive that holds no checkpoint.")
    if damaged is not None:
        raise BadCheckpoint(_damaged(label))


def _read_safetensors(path: Path, label: str) -> Contents:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            # Cloned, because the library maps the file: it may change under a running model.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError):
        raise BadCheckpoint(_damaged(label)) from None
    return Contents(_tensors(tensors, label), metadata, SAFETENSORS)


def _unpickled(path: Path, label: str, head: bytes) -> Any:
    try:
        with path.open("rb") as file:  # given a path, torch would go by its ending
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises nearly anything
        raise BadCheckpoint(_refusal(path, label, head, error)) from None


def _refusal(path: Path, label: str, head: bytes, error: Exception) -> str:
    """Say why torch refused a file: what it contains, or what is wrong with its form."""
    refused = _refused_object(path, str(error))
    if refused is not None:
        return (
            f"{label} was refused because it contains the Python object {refused}, which could run "
            "code when loaded. Only tensors are loaded: save the model's state_dict() instead."
        )
    if "operand 149" in str(error):
        return (
            f"{label} was pickled with protocol 4 or later, which the safe reader does not know: "
            "save it with torch.save's default protocol, or as safetensors."
        )
    if _LEGACY_MAGIC in head[:20] or head.startswith(b"PK"):
        return _damaged(label)
    if head[:1] == b"\x80":
        return f"{label} is a Python pickle, but not a whole checkpoint written by torch.save."
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return f"{label} is a text file, not a checkpoint."
    return (
        f"{label} is no checkpoint, or only a piece of one: it begins neither like a torch.save "
        "file nor like safetensors."
    )


def _refused_object(path: Path, message: str) -> str | None:
    """Name the object that torch refused, from its message or, failing that, from the pickle."""
    named = re.search(r"(?:GLOBAL |got <class ')([\w.]+)", message)
    if named:
        return named[1]
    try:
        with _pickle_stream(path) as stream:
            for _ in range(4):  # a legacy file has its magic, version and system before the object
                for name in _globals(stream):
                    if not name.startswith(_HARMLESS):
                        return name
    except Exception:  # a damaged pickle raises nearly anything: then nothing can be named
        return None
    return None


def _pickle_stream(path: Path) -> BinaryIO:
    if not zipfile.is_zipfile(path):
        return path.open("rb")
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        return archive.open(name)  # type: ignore[return-value]


def _globals(stream: BinaryIO) -> Iterator[str]:
    """Yield the dotted names of all classes and functions that a pickle asks for."""
    memo: dict[int, Any] = {}
    strings: list[str] = []
    top: Any = None
    argument: Any
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".")
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(strings[-2:])
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = top
        elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(argument)] = top
        else:
            top = memo.get(argument) if opcode.name.endswith("GET") else argument
            if isinstance(top, str):
                strings.append(top)


def _tensors(content: Any, label: str) -> dict[str, Tensor]:
    """Return a checkpoint's state dict without prefixes, after checking that it is one."""
    if not isinstance(content, Mapping):
        raise BadCheckpoint(f"{label} holds a {type(content).__name__}, not a state dict.")
    inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
    state = content if inner is None else inner
    if not any(isinstance(value, Tensor) for value in state.values()):
        raise BadCheckpoint(f"{label} holds no weights: its entries are {_some(state)}.")
    for name, value in state.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise BadCheckpoint(
                f"{label} holds an entry {str(name)[:80]!r} that is not a plain tensor: "
                f"{type(value).__name__}."
            )
    return _without_prefixes({name: value.detach() for name, value in state.items()})


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        and not value.is_complex()
        and not value.is_meta
        # More numbers than are stored, as of an expanded tensor, could fill any memory.
        and value.numel() * value.itemsize <= value.untyped_storage().nbytes()
    )


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((p for p in _PREFIXES if all(n.startswith(p) for n in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _some(entries: Mapping[Any, Any]) -> str:
    shown = ", ".join(repr(key)[:80] for key in list(entries)[:5])
    more = f" and {len(entries) - 5} more" if len(entries) > 5 else ""
    return f"{shown}{more}" if entries else "none"


def _damaged(label: str) -> str:
    return f"{label} is truncated or damaged. Download or copy it again."
