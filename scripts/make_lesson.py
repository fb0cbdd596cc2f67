"""Make docs/lesson.ipynb from lesson.md, which lies beside this script, and docs/lesson.ko.ipynb from lesson.ko.md.

A block of Python in the text becomes a cell of code, the text between two blocks a cell of text. The notebook is run in
docs/, as a reader runs it, and written with its outputs. A translation has the same code and takes the outputs of the
lesson.

    python scripts/make_lesson.py
"""

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parent.parent
NAMES = ("lesson", "lesson.ko")  # the lesson, and its translations
METADATA = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def make_notebook(source: str) -> nbformat.NotebookNode:
    """Return the notebook of a text, without outputs. A cell is named by its number, so the file is always the same."""
    cells = []
    for number, part in enumerate(re.split(r"^```python\n(.*?)^```\n", source, flags=re.DOTALL | re.MULTILINE)):
        if part.strip():
            make = new_code_cell if number % 2 else new_markdown_cell
            cells.append(make(part.strip("\n"), id=f"cell-{number}"))
    return new_notebook(cells=cells, metadata=METADATA)


def run_notebook(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run a notebook in docs/, and leave out what the clock says.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    NotebookClient(
        notebook, timeout=600, coalesce_streams=True, resources={"metadata": {"path": str(ROOT / "docs")}}
    ).execute()
    for cell in notebook.cells:
        cell.metadata = {}
    notebook.metadata = METADATA
    return notebook


def main() -> None:
    """Write the notebook and its translations.

    Raises:
        KeyError: a translation has other code than the lesson.
    """
    notebooks = [make_notebook((ROOT / f"scripts/{name}.md").read_text(encoding="utf-8")) for name in NAMES]
    ran = {cell.source: cell for cell in run_notebook(notebooks[0]).cells if cell.cell_type == "code"}
    for name, notebook in zip(NAMES, notebooks, strict=True):
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.execution_count, cell.outputs = ran[cell.source].execution_count, ran[cell.source].outputs
        nbformat.write(notebook, ROOT / f"docs/{name}.ipynb")


if __name__ == "__main__":
    main()
