"""What the page remembers, and what it must not."""

from __future__ import annotations

import pytest
import torch
from checkpoint_files import save

from sge_viz.ui.studio import Studio

pytest_plugins = ["checkpoint_fixtures"]


def test_weights_saved_anew_under_their_name_are_loaded_anew(folder, state, cat):
    studio = Studio()
    for class_index in (2, 5):
        state["fc.bias"] = torch.zeros(7).index_fill_(0, torch.tensor(class_index), 100.0)
        save(state, folder / "mine.pth")
        assert studio.explain(cat, "mine.pth", 224).predictions[0].index == class_index
        assert (
            studio.consult(cat, "mine.pth", 224, lambda _, kept: kept.logits.argmax())
            == class_index
        )


def test_unknown_weights_are_named(folder, cat):
    with pytest.raises(ValueError, match="no weights named 'yours' here"):
        Studio().explain(cat, "yours", 224)
