"""The Gradio page: layout, listeners, texts. It knows no mathematics."""

from sge_viz.ui.page import build_page, launch

__all__ = ["build_page", "launch"]
