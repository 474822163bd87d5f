"""`python -m sge_viz`."""

from sge_viz.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
