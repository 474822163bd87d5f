"""The Space's entry: build the page and launch it."""

from sge_viz.ui import build_page, launch

demo = build_page()

if __name__ == "__main__":
    launch(demo)
