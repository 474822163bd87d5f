"""Time the page in a real browser: upload to first result, and clicks that need the server.

Run as `python -m benchmarks.page`; it needs Chromium (`make test` installs it).
"""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).resolve().parents[1] / "assets"
FLAGS = "--headless --no-sandbox --disable-gpu --disable-background-networking"
SHOWN = "name => window.sgeViz?.value?.picture.name === name"


def _measure(page: Any) -> dict[str, list[float]]:
    """Time each step in milliseconds, from the input event to the explorer's new picture."""
    times: dict[str, list[float]] = {"upload to result": [], "another layer": []}
    layers = ["layer4.2", "layer3.5", "layer2.0", "layer1.2"]
    for number, path in enumerate(sorted(ASSETS.glob("*.jpg"))):
        name = f"picture{number}.jpg"
        clear = page.locator("#sge-picture button[aria-label='Clear']")
        if clear.count():
            clear.first.click()
        file = {"name": name, "mimeType": "image/jpeg", "buffer": path.read_bytes()}
        started = time.perf_counter()
        page.locator("#sge-picture input[type=file]").set_input_files(file)
        page.wait_for_function(SHOWN, arg=name)
        times["upload to result"].append(1e3 * (time.perf_counter() - started))
        layer = layers[number % len(layers)]
        page.locator("#sge-layer input").click()
        option = page.get_by_role("option", name=layer).first
        option.click()
        page.wait_for_function("layer => window.sgeViz.value.layer.path === layer", arg=layer)
        times["another layer"].append(page.evaluate("window.sgeViz.loaded - window.pressed"))
    return times


def main() -> None:
    """Print the median and the slowest of each step, and the browser's own redraws."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    from sge_viz.ui import build_page, launch  # noqa: PLC0415

    page_app = build_page()
    _, url, _ = launch(page_app, prevent_thread_lock=True, quiet=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=FLAGS.split()
        )
        page = chromium.new_page(viewport={"width": 1440, "height": 1000})
        # The browser's own clock, because finding the option to click takes its time too.
        page.add_init_script(
            "addEventListener('mousedown', () => { window.pressed = performance.now() }, true)"
        )
        page.goto(url)
        page.wait_for_function(SHOWN, arg="dog.jpg")
        for name, values in _measure(page).items():
            print(
                f"{name:18} median {statistics.median(values):6.0f} ms, max {max(values):6.0f} ms"
            )
        looks = {"scale": ("own", "layer"), "colourMap": ("magma", "gray")}
        for setting, choices in looks.items():
            drawn = [
                page.evaluate(f"window.sgeViz.set('{setting}', '{value}'); window.sgeViz.lastDraw")
                for value in choices * 5
            ]
            print(
                f"redraw by {setting:10} median {statistics.median(drawn):4.1f} ms in the browser"
            )
        chromium.close()
    page_app.close()


if __name__ == "__main__":
    main()
