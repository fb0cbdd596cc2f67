"""The lesson: a notebook that is its source, and runs."""

import re
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
pytest.importorskip("nbclient", reason="nbclient is not installed")

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
from make_lesson import NAMES, make_notebook, run_notebook  # noqa: E402


@pytest.fixture(params=NAMES)
def lesson(request):
    """A notebook as it is kept, and as its source makes it."""
    source = (ROOT / f"scripts/{request.param}.md").read_text(encoding="utf-8")
    return nbformat.read(ROOT / f"docs/{request.param}.ipynb", as_version=4), make_notebook(source)


def test_the_notebook_has_the_cells_of_its_source(lesson):
    kept, made = lesson
    nbformat.validate(kept)
    assert [(cell.id, cell.cell_type, cell.source) for cell in kept.cells] == [
        (cell.id, cell.cell_type, cell.source) for cell in made.cells
    ]


def test_its_outputs_are_small_and_tell_of_no_machine(lesson):
    text = nbformat.writes(lesson[0])
    assert len(text) < 200_000
    assert not re.search(r"/(tmp|home|root|work|usr)/|tokens/s|\bseconds\b", text)
    outputs = [output for cell in lesson[0].cells if cell.cell_type == "code" for output in cell.outputs]
    assert {output.output_type for output in outputs} == {"stream", "display_data", "execute_result"} - {"display_data"}
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}


@pytest.mark.slow
def test_it_runs_and_its_numbers_by_hand_are_those_of_the_library(lesson):
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: there is no kernel to run the notebook")
    ran = run_notebook(lesson[1])
    assert all(cell.execution_count for cell in ran.cells if cell.cell_type == "code")
    assert sum(cell.source.count("assert ") for cell in ran.cells) > 15
