"""The Space's entry: build the page and launch it."""

from sge_viz.memory import keep_memory
from sge_viz.ui import build_page, launch

keep_memory()
demo = build_page()

if __name__ == "__main__":
    launch(demo)
