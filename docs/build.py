"""Run a page of cells and write it with what the cells print, as Markdown.

    python docs/build.py docs/evidence.py

A page is a Python file in the percent format that notebooks and editors know: cells begin with
`# %%`, or `# %% [markdown]` where all lines are comments; of a `# %% [hidden]` cell only what it
prints is shown, as Markdown. A picture that a cell saves with
`show(data, "name.png")` is written beside the page, in a folder of the page's name.
"""

import contextlib
import io
import sys
from pathlib import Path


def build(page: Path) -> Path:
    """Run every cell of `page` in one namespace; return the path of the Markdown file."""
    folder = page.with_suffix("")
    shown: list[str] = []

    def show(data: bytes, name: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
        shown.append(f"![{name.rpartition('.')[0]}]({folder.name}/{name})")

    namespace: dict[str, object] = {"show": show}
    parts: list[str] = []
    for cell in page.read_text("utf-8").split("\n# %%")[1:]:
        first, _, body = cell.partition("\n")
        body = body.strip()
        if "[markdown]" in first:
            lines = (line.removeprefix("#").removeprefix(" ") for line in body.splitlines())
            parts.append("\n".join(lines))
            continue
        printed = io.StringIO()
        shown.clear()
        with contextlib.redirect_stdout(printed):
            exec(compile(body, str(page), "exec"), namespace)
        output = printed.getvalue().rstrip()
        if "[hidden]" in first:
            parts.append(output)
        else:
            parts.append(f"```python\n{body}\n```")
            if output:
                parts.append(f"```text\n{output}\n```")
        parts.extend(shown)
    target = page.with_suffix(".md")
    target.write_text("\n\n".join(part for part in parts if part) + "\n", "utf-8")
    return target


if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())  # this folder's pages would hide modules of their names
    for argument in sys.argv[1:]:
        print(build(Path(argument)))
