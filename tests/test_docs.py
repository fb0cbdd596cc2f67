"""The documents say what the code says."""

import doctest
import re
from pathlib import Path
from typing import get_args

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "seq2seq").rglob("*.py"))}


def lines_quoted(page):
    """The lines of code in a page's tables and Python blocks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    quoted = [span for span in spans if "return " in span or " = " in span]
    for block in re.findall(r"```python\n(?!>>>)(.*?)```", text, flags=re.DOTALL):
        quoted += block.splitlines()
    return [line.strip() for line in quoted if line.strip()]


PAGES = ["docs/attention.md", "docs/attention.ko.md"]


@pytest.mark.parametrize("page", PAGES)
def test_every_session_in_the_attention_page_runs_as_printed(page):
    failed, tried = doctest.testfile(str(ROOT / page), module_relative=False, encoding="utf-8")
    assert tried > 15
    assert not failed


def test_the_translated_page_has_the_same_sections_lines_and_sessions():
    english, korean = (lines_quoted(page) for page in PAGES)
    assert sorted(korean) == sorted(english)
    sections = [re.findall(r"^#+ ", (ROOT / page).read_text("utf-8"), re.MULTILINE) for page in PAGES]
    assert sections[0] == sections[1]
    sessions = [re.findall(r"```python\n(>>>.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL) for page in PAGES]
    plain, translated = ([re.sub(r"\s+#.*", "", block) for block in blocks] for blocks in sessions)
    assert plain == translated


@pytest.mark.parametrize("line", sorted({*lines_quoted("docs/attention.md")}))
def test_every_line_quoted_in_the_attention_page_stands_in_the_package(line):
    stripped = {code.split("  #")[0].strip() for text in PACKAGE.values() for code in text.splitlines()}
    assert line in stripped


def test_the_attention_page_names_every_score_and_alias():
    from seq2seq.config.keys import SCORE_ALIASES
    from seq2seq.model.attention import SCORES

    text = (ROOT / "docs/attention.md").read_text(encoding="utf-8")
    for name in SCORES:
        assert f"| `{name}`" in text
    for alias in SCORE_ALIASES:
        assert alias in text


@pytest.mark.parametrize("page", PAGES)
def test_the_table_of_combinations_ticks_every_decoder_with_multi_head(page):
    from seq2seq.config.keys import DecoderConfig

    rows = [line.split(" | ") for line in (ROOT / page).read_text("utf-8").splitlines() if line.startswith("| ")]
    head = next(row for row in rows if row[0] == "| score" and "decoder `rnn`" in row)
    ticks = dict(zip(head, next(row for row in rows[rows.index(head) :] if row[0] == "| `multi_head`"), strict=True))
    for kind in get_args(DecoderConfig.model_fields["type"].annotation):
        assert ticks[f"decoder `{kind}`"] == "✓"


def test_every_alias_and_every_past_of_the_config_is_one_of_the_model():
    from seq2seq.config.keys import SCORE_ALIASES, AttentionConfig
    from seq2seq.model.attention import SCORES
    from seq2seq.model.past import PASTS

    assert {*SCORE_ALIASES.values()} <= {*SCORES}
    pasts = (AttentionConfig(), AttentionConfig(coverage=True), AttentionConfig(convolution=True))
    assert [attention.past for attention in pasts] == list(PASTS)


DOCS = sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))
LINKED = ["README.md", "CONTRIBUTING.md", "data/README.md", "configs/README.md", *DOCS]


@pytest.mark.parametrize("page", LINKED)
def test_every_relative_link_leads_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert ((ROOT / page).parent / target).exists(), target


def test_every_promise_of_the_reliability_page_has_its_test():
    page = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    promises = re.findall(r"`([a-z_]+)::(test_\w+)`", page)
    assert len(promises) > 30
    for file, test in promises:
        assert f"def {test}(" in (ROOT / f"tests/test_{file}.py").read_text(encoding="utf-8"), test
