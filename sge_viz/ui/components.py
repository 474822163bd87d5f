"""The few Gradio components that must not open or convert what a person hands in."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import gradio as gr

from sge_viz.images import BadPicture


class PictureInput(gr.Image):
    """An image upload that hands the raw file on; `open_picture` is the only one to open it."""

    is_template = True  # looks and behaves like gr.Image in the browser

    def preprocess(self, payload: Any) -> Any:
        """Give the uploaded file's path, or a pasted data URL's bytes, or None for no picture."""
        if payload is None:
            return None
        if payload.path:
            return str(payload.path)
        try:
            return base64.b64decode(payload.url.split(",", 1)[1], validate=True)
        except (AttributeError, IndexError, binascii.Error) as error:
            raise gr.Error(
                str(BadPicture("This is not a picture.")), print_exception=False
            ) from error


class RawNumber(gr.Number):
    """A number field whose value is checked by the code that uses it, with its own sentence."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        """Hand the value on as it came."""
        return payload


class Word(gr.Textbox):
    """A text field of an endpoint, documented with its default as the example."""

    is_template = True

    def example_payload(self) -> Any:
        """Show a client what a value looks like."""
        return self.value

    def example_value(self) -> Any:
        """Show the page what a value looks like."""
        return self.value
