"""Who may import whom: downward only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "sge_viz"
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path):
    """Give the full name of everything that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def uses(path, *packages):
    return {
        name for name in imports(path) for p in packages if name == p or name.startswith(f"{p}.")
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downward(path):
    place = room(path)
    if place not in {"ui", "cli", "__main__"}:
        assert not uses(path, "gradio", "sge_viz.ui", "sge_viz.cli")
    if place == "render":
        others = {name for name in imports(path) if name.startswith("sge_viz.")}
        assert not uses(path, "torch", "torchvision")
        assert all(name.startswith("sge_viz.render") for name in others)
    if place == "sge":
        assert not uses(path, "sge_viz")
    if place == "resnet":
        assert uses(path, "sge_viz") == uses(path, "sge_viz.sge")
    if place in {"capture", "maps", "images"}:
        assert not uses(path, "sge_viz.render", "sge_viz.explain", "sge_viz.checkpoints")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_pyplot_is_never_used(path):
    assert not uses(path, "matplotlib.pyplot")
