"""An explanation as the browser takes it: small JSON with the raw maps packed to 16 bits."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from sge_viz.evidence.ledger import Ledger
from sge_viz.explain import Explanation
from sge_viz.maps import concentration, gate_contrast

SHOWN_SIDE = 960
"""The picture's longer side in the browser, in pixels; maps are laid over it by `box`."""


def explorer_value(explanation: Explanation, layer: str) -> dict[str, Any]:
    """Tell the explorer all it shows of `layer`: the picture, the predictions and the raw maps.

    Each map is sent as 16-bit counts of its layer's largest value, so a number read in the
    browser is within 1/65535 of that value; after is left out, since it is gate * before.

    Raises:
        UnknownLayerError: The network has no such layer.
    """
    maps = explanation.chosen(layer)
    groups, height, width = maps.before.shape[1:]
    sent: dict[str, Any] = {
        "groups": groups,
        "height": height,
        "width": width,
        "before": packed(maps.before[0].numpy()),
        "gate": None,
        "concentration": {"before": concentration(maps.before)[0].tolist()},
    }
    if maps.gate is not None and maps.after is not None:
        assert maps.gamma is not None and maps.beta is not None
        sent["gate"] = packed(maps.gate[0].numpy())
        sent["concentration"]["after"] = concentration(maps.after)[0].tolist()
        sent["contrast"] = gate_contrast(maps.gate)[0].tolist()
        sent["gamma"], sent["beta"] = maps.gamma.tolist(), maps.beta.tolist()
    return {
        "picture": _picture(explanation),
        "layer": {"path": layer, "title": explanation.layer_title(layer)},
        "predictions": [vars(prediction) for prediction in explanation.predictions],
        "maps": sent,
    }


def evidence_value(explanation: Explanation, booked: Ledger) -> dict[str, Any]:
    """Tell the evidence tab the ledger of one class: every group's two parts, and their maps."""
    maps = booked.evidence().total[0].numpy()
    groups, height, width = maps.shape
    top = float(np.abs(maps).max()) or 1.0
    counts = np.rint((maps / top + 1) * 32767.5).astype("<u2")
    label, logit = booked.classes[0], float(booked.logits[0, 0])
    return {
        "picture": _picture(explanation),
        "layer": explanation.layer_title(booked.layer),
        "label": label.name,
        "index": label.index,
        "bias": float(booked.bias[0]),
        "logit": logit,
        "ledger": [
            {"sge": sge, "shortcut": shortcut}
            for sge, shortcut in zip(
                booked.through_sge[0, :, 0].tolist(),
                booked.through_shortcut[0, :, 0].tolist(),
                strict=True,
            )
        ],
        "maps": {
            "groups": groups,
            "height": height,
            "width": width,
            "top": top,
            "counts": base64.b64encode(counts.tobytes()).decode(),
        },
    }


def packed(values: np.ndarray) -> dict[str, Any]:
    """Pack non-negative numbers as 16-bit counts of their largest, in base64."""
    top = float(values.max()) or 1.0
    counts = np.rint(values.astype(np.float64) * (65535 / top)).astype("<u2")
    return {"top": top, "counts": base64.b64encode(counts.tobytes()).decode()}


def _picture(explanation: Explanation) -> dict[str, Any]:
    picture = explanation.input.picture
    width, height = picture.image.size
    left, top, right, bottom = explanation.input.box
    shown = picture.image.copy()
    shown.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=88)
    url = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {
        "id": f"{picture.sha256} {explanation.input.box}",
        "name": picture.name or "picture",
        "width": width,
        "height": height,
        "box": [left / width, top / height, right / width, bottom / height],
        "url": url,
    }
