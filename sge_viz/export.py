"""An explanation as files: the arrays, and the manifest that says where they come from."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from sge_viz.explain import Explanation
from sge_viz.maps import concentration, gate_contrast
from sge_viz.versions import versions

DEFINITIONS = {
    "before": "Euclidean norm over a group's channels of bn3's output, per position",
    "gate": "sigmoid(gamma * normalised similarity + beta) of that group, per position",
    "after": "gate * before: the norm of the group after SGE, before the residual add and the ReLU",
    "concentration": "share of a map's total norm held by its strongest tenth of positions",
    "gate_contrast": "largest minus smallest gate over a map's positions",
}


def manifest(explanation: Explanation, layer: str) -> dict[str, Any]:
    """Tell everything needed to make `layer`'s maps again: weights, picture, input, versions.

    Raises:
        UnknownLayerError: The network has no such layer.
    """
    maps, prepared, card = explanation.chosen(layer), explanation.input, explanation.card
    return {
        "layer": layer,
        "layer_title": explanation.layer_title(layer),
        "groups": maps.before.shape[1],
        "map_size": list(maps.before.shape[-2:]),
        "group_index": "0-based; the paper counts from 1",
        "checkpoint": {
            "name": card.name,
            "title": card.title,
            "architecture": card.architecture,
            "file": card.file,
            "sha256": card.sha256,
            "published_weights": card.published,
        },
        "picture": {
            "name": prepared.picture.name,
            "sha256": prepared.picture.sha256,
            "original_size": list(prepared.picture.original_size),
            "notes": list(prepared.picture.notes),
        },
        "preprocessing": prepared.preprocessing,
        "input_size": list(prepared.size),
        "box_in_picture": list(prepared.box),
        "predictions": [vars(prediction) for prediction in explanation.predictions],
        "definitions": DEFINITIONS,
        "versions": versions(),
    }


def npz_bytes(explanation: Explanation, layer: str) -> bytes:
    """Pack `layer`'s arrays and their manifest as one compressed .npz, readable without pickle.

    The file holds `before`, and for an SGE network `gate` and `after`, each (G, H, W) float32;
    `gamma` and `beta` (G,); `concentration_before`, `concentration_after`, `gate_contrast` (G,);
    and `manifest`, a JSON text.
    """
    maps = explanation.chosen(layer)
    arrays: dict[str, Any] = {"before": maps.before[0].numpy()}
    arrays["concentration_before"] = concentration(maps.before)[0].numpy()
    if maps.gate is not None and maps.after is not None:
        assert maps.gamma is not None and maps.beta is not None
        arrays |= {"gate": maps.gate[0].numpy(), "after": maps.after[0].numpy()}
        arrays |= {"gamma": maps.gamma.numpy(), "beta": maps.beta.numpy()}
        arrays["concentration_after"] = concentration(maps.after)[0].numpy()
        arrays["gate_contrast"] = gate_contrast(maps.gate)[0].numpy()
    buffer = io.BytesIO()
    text = np.array(json.dumps(manifest(explanation, layer), indent=2))
    np.savez_compressed(buffer, allow_pickle=False, manifest=text, **arrays)
    return buffer.getvalue()
