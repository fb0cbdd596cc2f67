"""The lesson: a notebook that is its source, and runs; its translation, which differs in words only."""

import re
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
pytest.importorskip("nbclient", reason="nbclient is not installed")

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
from make_lesson import NAMES, make_notebook, run_notebook  # noqa: E402


def kept_and_made(name):
    """A notebook as it is kept, and as its source makes it."""
    source = (ROOT / f"scripts/{name}.md").read_text(encoding="utf-8")
    return nbformat.read(ROOT / f"docs/{name}.ipynb", as_version=4), make_notebook(source)


@pytest.fixture(params=NAMES)
def lesson(request):
    return kept_and_made(request.param)


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


@pytest.mark.parametrize("name", NAMES)
def test_its_links_lead_somewhere(name):
    text = "".join(cell.source for cell in kept_and_made(name)[0].cells if cell.cell_type == "markdown")
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert targets
    for target in targets:
        assert (ROOT / "docs" / target).exists(), target


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_translation_has_the_same_code_outputs_headings_and_equations(name):
    lesson, translation = (kept_and_made(each)[0].cells for each in (NAMES[0], name))
    assert [(cell.id, cell.cell_type) for cell in translation] == [(cell.id, cell.cell_type) for cell in lesson]
    for cell, translated in zip(lesson, translation, strict=True):
        if cell.cell_type == "code":
            assert translated == cell
        else:
            for pattern in (r"^#+ ", r"^\d+\. ", r"</?(?:details|summary)>"):
                found = re.findall(pattern, cell.source, re.MULTILINE)
                assert re.findall(pattern, translated.source, re.MULTILINE) == found
            equations, others = (
                {*re.findall(r"\$[^$]+\$", re.sub(r"\\text\{[^}]*\}", "", each.source.replace("$$", "$")))}
                for each in (cell, translated)
            )
            assert others == equations


@pytest.mark.slow
def test_it_runs_and_its_numbers_by_hand_are_those_of_the_library():  # the code of a translation is the same
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: there is no kernel to run the notebook")
    ran = run_notebook(kept_and_made(NAMES[0])[1])
    assert all(cell.execution_count for cell in ran.cells if cell.cell_type == "code")
    assert sum(cell.source.count("assert ") for cell in ran.cells) > 15
