"""Any readable checkpoint as safetensors, with its card in the file's metadata."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from sge_viz import __version__
from sge_viz.checkpoints.architecture import check_fit
from sge_viz.checkpoints.catalogue import Catalogue
from sge_viz.checkpoints.directory import directory
from sge_viz.checkpoints.errors import BadCheckpoint
from sge_viz.checkpoints.files import sha256_of, written_atomically
from sge_viz.checkpoints.load import Checkpoint, inspect
from sge_viz.checkpoints.records import remember_converted


def convert(
    source: str | Path | Catalogue,
    out: Path | None = None,
    *,
    half: bool = False,
    force: bool = False,
) -> Path:
    """Write a checkpoint as safetensors: the same tensors, bit for bit, and its card beside them.

    Only the weights are kept; the epoch and the optimiser's state are not. A conversion of the
    published file counts as published too: its hash is recorded.

    Args:
        source: What to convert, as for `load_model`.
        out: The file to write; by default beside the source, with the ending .safetensors.
        half: Round the weights to half precision, which halves the file.
        force: Replace `out` if it exists.

    Returns:
        The file written.

    Raises:
        BadCheckpoint: The source cannot be used, or the file cannot be written.
    """
    checkpoint = inspect(source)
    out = out or _beside(checkpoint.path)
    if out.is_dir():
        raise BadCheckpoint(f"{out.name} is a directory: name the file to write with --out.")
    if out.exists() and (not force or out.samefile(checkpoint.path)):
        raise BadCheckpoint(
            f"{out.name} is there already: name another file with --out, or replace it with "
            "--force (never the file that is converted)."
        )
    tensors = dict(checkpoint.tensors)
    if half:
        tensors = {name: _halved(tensor) for name, tensor in tensors.items()}
        check_fit(tensors, checkpoint.architecture, f"{checkpoint.path.name} in half precision")
    plain = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    written_atomically(out, safetensors_bytes(plain, metadata_of(checkpoint)))
    if checkpoint.card.published:
        remember_converted(directory(), checkpoint.card.name, sha256_of(out))
    return out


def metadata_of(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the card as safetensors metadata: strings only, unknown fields left out."""
    fields = asdict(checkpoint.card)
    original = {"original_file": fields.pop("file"), "original_sha256": fields.pop("sha256")}
    fields |= original | {"published": str(checkpoint.card.published).lower()}
    fields |= {"format": "pt", "written_by": f"sge-viz {__version__}"}
    return {key: str(value) for key, value in fields.items() if value not in (None, "")}


def safetensors_bytes(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """Return a safetensors file; equal arguments give equal bytes.

    The library writes the metadata in random order, so its header is sorted afterwards.
    """
    written = save(tensors, metadata)
    size = int.from_bytes(written[:8], "little")
    header = json.loads(written[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors stay aligned
    return len(text).to_bytes(8, "little") + text + written[8 + size :]


def _halved(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float16) if tensor.is_floating_point() else tensor


def _beside(path: Path) -> Path:
    name = path.name
    for ending in (".tar", ".pth", ".pt", ".safetensors"):
        name = name.removesuffix(ending)
    return path.with_name(f"{name}.safetensors")
