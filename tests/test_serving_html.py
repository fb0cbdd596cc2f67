"""HTML through the server: mark-up stays, and inline tags stand round the words that look at what they stood round."""

import numpy as np
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.decoding.attention_map import AttentionMap
from seq2seq.decoding.looking import Look
from seq2seq.decoding.translation import Translation
from seq2seq.errors import UserError
from seq2seq.serving.html import Page
from seq2seq.text.sentences import Sentences

# word by word, in another order: number of the source word, and its translation
GERMAN = {
    "the cat sleeps .": [(0, "die"), (1, "Katze"), (2, "schläft"), (3, ".")],
    "she has read the book .": [(0, "sie"), (1, "hat"), (3, "das"), (4, "Buch"), (2, "gelesen"), (5, ".")],
}


RULES = Sentences(language="en", single=True)


def look(source):
    """A translation whose words look at one source word each: given, or the same words in capitals, backwards."""
    words = source.split()
    pairs = GERMAN.get(source) or [(i, word.upper()) for i, word in reversed([*enumerate(words)])]
    tokens = [*(f"▁{word}" for _, word in pairs), "</s>"]
    weights = np.zeros((1, len(tokens), len(words) + 1))
    weights[0, range(len(pairs)), [i for i, _ in pairs]] = 1
    weights[0, -1, -1] = 1
    sources = [*(f"▁{word}" for word in words), "</s>"]
    map = AttentionMap(tokens, sources, ["attention"], weights, [*range(len(tokens))], [*range(len(sources))])
    text = " ".join(word for _, word in pairs)
    return Look(Translation(text, 0.0, 0.0, tokens, sources), [], map, None)


def translated(page):
    read = Page(page, RULES.model_copy(update={"single": False}))
    (rendered,) = read.render([look(part.text) for part in read.parts])
    return rendered


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("the cat sleeps .", "die Katze schläft ."),
        ("<p>\n the <b>cat</b> sleeps .\n</p>", "<p>\n die <b>Katze</b> schläft .\n</p>"),
        ("<p><b>the cat sleeps .</b></p>", "<p><b>die Katze schläft .</b></p>"),
        # words that part, and words that change places
        ("she <b>has</b> read the <i>book</i> .", "sie <b>hat</b> das <i>Buch</i> gelesen ."),
        ("she has <b>read</b> the <i>book</i> .", "sie hat das <i>Buch</i> <b>gelesen</b> ."),
        ("one two three", "THREE TWO ONE"),
        ("<b>one</b> two <i>three</i>", "<i>THREE</i> TWO <b>ONE</b>"),
        ("the <b>cat</b>, the <i>dog</i>.", "<i>DOG</i>. THE <b>CAT</b>, THE"),
        # tags in tags
        ("<a href='/?a=1&b=2'>the <b>cat</b></a> sleeps .", '<a href="/?a=1&amp;b=2">die <b>Katze</b></a> schläft .'),
        ("<ul><li>the <b>cat</b> sleeps .<li>one</ul>", "<ul><li>die <b>Katze</b> schläft .<li>ONE</li></li></ul>"),
        # what is left alone, and its place
        ("<script>a < b && c</script>one", "<script>a < b && c</script>ONE"),
        (
            '<p translate="no">one</p><p class="notranslate">one</p>',
            '<p translate="no">one</p><p class="notranslate">one</p>',
        ),
        ("the <img src=x alt=y> cat sleeps .", 'die <img src="x" alt="y"> Katze schläft .'),
        ("the cat <code>x</code> <kbd>y</kbd> sleeps .", "die Katze <code>x</code> <kbd>y</kbd> schläft ."),
        ("<!-- one --><b></b> 😀 <br> &nbsp;", "<!-- one --><b></b> 😀 <br> \xa0"),
        ("one<br>two<hr>", "ONE<br>TWO<hr>"),
        ("<pre>one\n  two <b>three</b>\n</pre>", "<pre>ONE\n  <b>THREE</b> TWO\n</pre>"),
        # what is no mark-up never becomes any
        ("&lt;script&gt; &amp;amp; 1 &lt; 2", "2 &lt; 1 &amp;AMP; &lt;SCRIPT&gt;"),
        ("a < b", "B &lt; A"),
    ],
)
def test_tags_go_where_the_words_look(page, expected):
    assert translated(page) == expected


INLINE = st.sampled_from(["b", "i", "a", "span"])
TREES = st.recursive(
    st.sampled_from(["one", " two ", " ", "three four", "<code>x</code>", "<img>", " , "]),
    lambda parts: st.tuples(INLINE, st.lists(parts, max_size=3)).map(lambda t: f"<{t[0]}>{''.join(t[1])}</{t[0]}>"),
    max_leaves=8,
)


@given(st.lists(TREES, max_size=5).map("".join), st.booleans())
def test_no_tag_is_lost_or_doubled_whatever_is_nested(page, in_a_block):
    page = f"<p>{page}</p><p>five</p>" if in_a_block else page
    before, after = (BeautifulSoup(text, "html.parser") for text in (page, translated(page)))
    assert sorted(tag.name for tag in after.find_all()) == sorted(tag.name for tag in before.find_all())
    for seen in (
        lambda page: sorted("".join(page.get_text().upper().split())),
        lambda page: sorted((tag.name, tag.parent.name) for tag in page.find_all()),
    ):
        assert seen(after) == seen(before)


def test_html_that_nests_without_end_is_refused():
    with pytest.raises(UserError, match="over 100 deep"):
        Page("<b>" * 5000, RULES)


def test_a_script_without_spaces_has_its_tokens_as_words():
    source = Look(
        Translation("我看书。", 0.0, 0.0, ["▁我", "看", "书", "。", "</s>"], ["▁I", "▁read", "▁books", ".", "</s>"]),
        [],
        AttentionMap.of_tokens(["我", "看", "书", "。", "</s>"], [*"Irb.", "</s>"], np.eye(5).tolist()),
        None,
    )
    page = Page("I read <b>books</b>.", RULES)
    assert page.render([source]) == ["我看<b>书</b>。"]


def test_a_tag_over_two_sentences_and_a_model_without_attention():
    looks = [
        Look(Translation(text, 0.0, 0.0, [f"▁{word}" for word in text.split()] + ["</s>"], tokens), [], None, None)
        for text, tokens in (("Eins zwei.", ["▁One", "▁two.", "</s>"]), ("Drei vier.", ["▁Three", "▁four.", "</s>"]))
    ]
    page = Page("<p>One <b>two. Three</b> four.</p>", RULES)
    assert page.render(looks) == ["<p>Eins <b>zwei. Drei</b> vier.</p>"]
