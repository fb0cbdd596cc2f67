"""The weights of a sentence as plain values: heads, words, links."""

import numpy as np
import pytest

from seq2seq.decoding.attention_map import AttentionMap, beside, readable
from seq2seq.plots import make_views

ROWS, ROW_WORDS = ["▁der", "▁Leh", "rer", "</s>"], [0, 1, 1, 2]
COLUMNS, COLUMN_WORDS = ["▁the", "▁tea", "ch", "er", "</s>"], [0, 1, 1, 1, 2]


def random_map(heads=3, seed=0, scale=1.0):
    weights = np.random.default_rng(seed).random((heads, len(ROWS), len(COLUMNS)))
    weights *= scale / weights.sum(2, keepdims=True)
    names = [f"head {i + 1}" for i in range(heads)]
    return AttentionMap(ROWS, COLUMNS, names, weights, ROW_WORDS, COLUMN_WORDS)


def map_of(weights):
    """One head over words `s0 s1 ...` and `t0 t1 ...`, the last of each being `</s>`."""
    rows, columns = len(weights), len(weights[0])
    sides = [*(f"▁t{i}" for i in range(rows - 1)), "</s>"], [*(f"▁s{i}" for i in range(columns - 1)), "</s>"]
    return AttentionMap.of_tokens(*sides, weights)


def test_a_head_keeps_its_name_and_its_weights():
    whole = random_map()
    assert whole.head(1).heads == ["head 2"]
    assert whole.head(1).weights.tolist() == [whole.weights[1].tolist()]


def test_the_mean_is_the_mean_of_the_heads():
    whole = random_map()
    assert whole.mean().heads == ["mean of all heads"]
    assert whole.mean().weights[0] == pytest.approx(sum(whole.weights) / 3)


def test_the_mean_of_one_head_is_that_head():
    one = random_map(heads=1)
    assert one.mean().heads == ["head 1"]
    assert one.mean().weights.tolist() == one.weights.tolist()


def test_pieces_are_joined_to_words():
    words = random_map().words()
    assert words.rows == ["der", "Lehrer", "</s>"]
    assert words.columns == ["the", "teacher", "</s>"]
    assert (words.row_words, words.column_words) == ([0, 1, 2], [0, 1, 2])


@pytest.mark.parametrize("scale", [1.0, 0.4])  # 0.4: as under the window local_p, which is not renormalized
def test_merging_keeps_the_sum_of_each_row(scale):
    words = random_map(scale=scale).words()
    assert words.weights.sum(2) == pytest.approx(np.full((3, 3), scale))


def test_a_word_looks_with_the_mean_of_its_pieces_and_receives_the_sum_of_their_weights():
    weights = [[0.1, 0.2, 0.3, 0.4, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0, 0.5], [0, 0, 0, 0, 1.0]]
    whole = AttentionMap(ROWS, COLUMNS, ["attention"], np.array([weights]), ROW_WORDS, COLUMN_WORDS)
    assert whole.words().weights[0] == pytest.approx(np.array([[0.1, 0.9, 0], [0.5, 0.25, 0.25], [0, 0, 1]]))


def test_merging_twice_or_before_the_mean_changes_nothing():
    whole = random_map()
    assert whole.words().words().weights == pytest.approx(whole.words().weights)
    assert whole.words().mean().weights == pytest.approx(whole.mean().words().weights)


def test_only_a_merged_map_has_whole_words():
    assert not random_map().has_whole_words()
    assert random_map().words().has_whole_words()


@pytest.mark.parametrize(
    ("columns", "column_words", "is_spelled"),
    [
        (["▁", "h", "ú", "s", "</s>"], [0, 0, 0, 0, 1], True),
        (["▁hel", "lo", "</s>"], [0, 0, 1], False),  # pieces
        (["▁", "a", "▁", "b", "</s>"], [0, 0, 1, 1, 2], False),  # two words
        (["▁hús", "</s>"], [0, 1], False),  # one token
    ],
)
def test_a_side_may_be_one_word_that_is_spelled(columns, column_words, is_spelled):
    weights = np.ones((1, 3, len(columns))) / len(columns)
    map = AttentionMap(["h", "uː", "</s>"], columns, ["attention"], weights, [0, 1, 2], column_words)
    assert map.has_spelled_word() is is_spelled
    first, *_ = make_views(map)[0]["maps"]
    assert first == ("tokens" if is_spelled else "words")


def test_bytes_of_an_unknown_character_are_merged_into_the_character():
    pieces = ["▁", "<0xF0>", "<0x9F>", "<0x99>", "<0x82>", "!", "▁<0xFF>", "</s>"]
    whole = AttentionMap(pieces, ["</s>"], ["attention"], np.ones((1, 8, 1)), [0, 0, 0, 0, 0, 0, 1, 2], [0])
    assert whole.words().rows == ["🙂!", "\ufffd", "</s>"]


def test_links_go_from_each_target_word_to_the_source_word_that_it_looks_at_most():
    whole = map_of([[0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.4, 0.3, 0.3]])
    assert whole.pharaoh() == "1-0 0-1"


def test_links_count_words_and_average_heads():
    weights = np.zeros((2, 4, 5))
    weights[0, :, 0] = 0.6
    weights[0, :, 4] = 0.4
    weights[1, :, 1:4] = 0.3  # each piece has less than `the`, the word has more
    assert AttentionMap(ROWS, COLUMNS, ["a", "b"], weights, ROW_WORDS, COLUMN_WORDS).pharaoh() == "1-0 1-1"


def test_a_word_that_looks_at_the_end_most_or_at_nothing_has_no_link():
    assert map_of([[0.2, 0.8], [1.0, 0.0]]).pharaoh() == ""
    assert map_of([[0.0, 0.0], [1.0, 0.0]]).pharaoh() == ""


def test_a_sentence_of_one_word_has_one_link():
    assert map_of([[0.9, 0.1], [0.1, 0.9]]).pharaoh() == "0-0"


def test_a_translation_that_ends_at_once_has_no_link():
    only_end = map_of([[1.0]])
    assert only_end.words().rows == ["</s>"]
    assert only_end.words().weights.tolist() == [[[1.0]]]
    assert only_end.pharaoh() == ""


def test_links_of_a_text_skip_the_end_of_each_sentence_and_may_be_by_token():
    weights = np.array([[[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.0, 0.1, 0.9]]])
    one = AttentionMap(["▁a", "b", "</s>"], ["▁c", "▁d", "</s>"], ["attention"], weights, [0, 0, 1], [0, 1, 2])
    text = AttentionMap.join([one, one])
    assert text.words().rows == ["ab", "</s>", "ab", "</s>"]
    assert (one.pharaoh(), text.pharaoh()) == ("0-0", "0-0 2-1")
    assert (one.pharaoh(by="token"), text.pharaoh(by="token")) == ("0-0 1-1", "0-0 1-1 2-2 3-3")
    np.testing.assert_array_equal(text.weights[0], np.kron(np.eye(2), weights[0]))


def test_maps_beside_each_other_become_heads_with_the_given_names():
    first, second = random_map(1, seed=1), random_map(1, seed=2)
    sheet = beside({"update 10": first, "update 20": second})
    assert sheet.heads == ["update 10", "update 20"]
    assert sheet.head(1).weights.tolist() == second.weights.tolist()
    assert (sheet.rows, sheet.columns) == (ROWS, COLUMNS)


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("▁the", "_the"),
        ("▁", "_"),
        ("<0xEA>", "<0xEA>"),
        ("\u200b", "<200B>"),
        ("a\tb", "a<0009>b"),
        ("\u0301", "◌\u0301"),
        ("", "◌"),
    ],
)
def test_every_token_is_shown_visibly(token, shown):
    assert readable(token) == shown


def test_the_mean_hides_the_heads_that_look_mostly_elsewhere():
    eye = np.eye(4)
    heads = [eye, eye, eye, eye[::-1], np.full((4, 4), 0.25), eye]
    map = AttentionMap(
        [*"abcd"], [*"abcd"], [f"head {i}" for i in range(1, 7)], np.array(heads), [*range(4)], [*range(4)]
    )
    shown = map.mean_and_hidden()
    assert shown.heads == ["mean of all heads", "head 4, which the mean hides"]
    assert (shown.weights == [map.weights.mean(0), eye[::-1]]).all()
    assert map.head(0).mean_and_hidden().heads == ["head 1"]
