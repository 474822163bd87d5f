"""One person's window on the real page, for the browser tests."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

ASSETS = Path(__file__).resolve().parents[1] / "assets"
MAPS = "window.sgeViz.maps"


class Visitor:
    """One person's window on the page, and what the page did behind it."""

    def __init__(self, browser, url, *, width=1440, height=1000, scheme="light"):
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
        )
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        self.wait_for("dog.jpg")

    def wait_for(self, name):
        """Wait until the explorer shows the picture of this name."""
        self.page.wait_for_function(
            "name => window.sgeViz?.value?.picture.name === name", arg=name, timeout=20_000
        )

    def upload(self, name, data, shown=None):
        clear = self.page.locator(
            "#sge-picture button[aria-label='Clear'], #sge-picture button[title='Clear']"
        )
        if clear.count():
            clear.first.click()
        file = {"name": name, "mimeType": "image/png", "buffer": data}
        self.page.locator("#sge-picture input[type=file]").set_input_files(file)
        if shown:
            self.wait_for(shown)

    def choose(self, menu, text):
        self.page.locator(f"{menu} input").click()
        self.page.get_by_role("option", name=re.compile(text)).first.click()

    def maps(self, kind):
        """Every group's map as the browser holds it."""
        shape = self.page.evaluate(f"[{MAPS}.groups, {MAPS}.height, {MAPS}.width]")
        values = self.page.evaluate(f"Array.from({MAPS}.arrays['{kind}'])")
        return np.array(values).reshape(shape)

    def evaluate(self, script, *arguments):
        return self.page.evaluate(script, *arguments)

    def close(self):
        self.context.close()
        assert not self.errors, self.errors
