"""From lines to translations: the same whatever the batch, and scores that mean what they say."""

import copy
import math
import re
import shutil
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch
from random_model import random_model, tokenizers
from tiny import write_config

import seq2seq
from seq2seq.config import SearchConfig, load_config
from seq2seq.decoding.forced import look_at, look_at_pairs, score, score_tokens
from seq2seq.decoding.translation import Options, Sampling, must_be_texts
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.text.sentences import Sentences
from seq2seq.text.tokenizer import UNK
from seq2seq.training.train import train

LINES = ["the cat sees the old dog", "", "cat", "네 the dog likes the cat", "   ", "the old old old old dog sees"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("translator")
    return train(load_config(write_config(folder), ["training.max_updates=60"]), folder / "run")


@pytest.fixture
def translator(run):
    return Translator.load(run.path, device="cpu")


def texts(translations):
    return [translation.text for translation in translations]


def test_python_loads_a_run_and_translates(run):
    translation = seq2seq.load(str(run.path)).translate(["the cat"])[0]
    assert translation.text
    assert translation.score < 0
    assert translation.tokens[-1] == "</s>"
    assert len(translation.attention) == len(translation.tokens)


def test_an_empty_line_has_an_empty_translation(translator):
    translations = translator.translate(LINES)
    assert [bool(t.text) for t in translations] == [True, False, True, True, False, True]
    assert translations[1].tokens == []


@pytest.mark.parametrize("beam", [1, 3])
def test_the_other_lines_of_a_batch_change_nothing(translator, beam):
    together = translator.translate(LINES, beam=beam)
    translator.engine.search = translator.search.model_copy(update={"batch_size": 1})
    alone = translator.translate(LINES, beam=beam)
    assert texts(together) == texts(alone)
    assert [t.score for t in together] == pytest.approx([t.score for t in alone], abs=1e-4)


@pytest.mark.parametrize("beam", [1, 3])
def test_batches_side_by_side_give_the_same_as_in_turn(translator, beam):
    translator.engine.search = translator.search.model_copy(update={"batch_size": 2})
    lines, before, found = 4 * LINES, torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        drawn = translator.translate(lines, sampling=Sampling())
        found.append((translator.translate(lines, beam=beam), score(translator, lines, lines), texts(drawn)))
    torch.set_num_threads(before)
    (alone, scores, drawn), (together, other_scores, drawn_again) = found
    assert texts(together) == texts(alone)
    assert drawn_again == drawn  # batches that draw random numbers take turns
    assert [t.score for t in together] == pytest.approx([t.score for t in alone], rel=1e-5)
    assert other_scores == pytest.approx(scores, rel=1e-5)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.attention, one.attention, atol=1e-5)


def test_the_score_of_a_translation_is_its_log_probability(translator):
    lines = [line for line in LINES if line.strip()]
    translations = translator.translate(lines)
    assert score(translator, lines, texts(translations)) == pytest.approx([t.score for t in translations], abs=1e-4)


def test_scores_keep_their_line(translator):
    sources, targets = ["the cat", "old dog sees", "the"], ["die Katze", "alte", "die Hund Hund Katze"]
    alone = [score(translator, [s], [t])[0] for s, t in zip(sources, targets, strict=True)]
    assert score(translator, sources, targets) == pytest.approx(alone, abs=1e-4)


def test_alternatives_follow_the_best_in_order_and_differ(translator):
    translation = translator.translate(["the cat sees the dog"], nbest=3)[0]
    scores = [translation.normalized_score, *(other.normalized_score for other in translation.alternatives)]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert len({translation.text, *(other.text for other in translation.alternatives)}) == 3


def test_attention_is_a_distribution_over_source_tokens_for_each_token(translator):
    translation = translator.translate(["the cat sees the dog"])[0]
    weights = torch.tensor(translation.attention)
    assert weights.shape == (len(translation.tokens), len(translation.source_tokens))
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))


def test_attention_is_left_out_if_it_is_not_wanted(translator):
    assert translator.translate(["the cat"], attention=False)[0].attention is None


def test_decomposed_letters_and_odd_spaces_change_nothing(translator):
    decomposed = "\u1102\u1166  the\u00a0cat"  # 네 in two code points
    assert texts(translator.translate([decomposed])) == texts(translator.translate(["네 the cat"]))


def test_the_longest_translation_is_bounded(run):
    translator = Translator.load(run.path, device="cpu")
    translator.engine.search = translator.search.model_copy(update={"max_length": 3})
    assert all(len(t.tokens) <= 3 for t in translator.translate(LINES))


def test_sampling_repeats_with_the_same_seed_and_differs_with_another(translator):
    lines = ["the cat sees the old dog"] * 8
    hot = [texts(translator.translate(lines, sampling=Sampling(temperature=3.0, seed=seed))) for seed in (1, 1, 2)]
    assert hot[0] == hot[1] != hot[2]


@pytest.mark.parametrize("options", [{"temperature": 1e-4}, {"top_k": 1}, {"top_p": 1e-6}])
def test_sampling_without_chance_is_greedy(translator, options):
    drawn, greedy = translator.translate(LINES, sampling=Sampling(**options)), translator.translate(LINES, beam=1)
    assert texts(drawn) == texts(greedy)


def test_a_string_is_not_a_list_of_lines(translator):
    with pytest.raises(UserError, match="texts are a list of lines"):
        translator.translate("the cat")


def test_scoring_needs_as_many_targets_as_sources(translator):
    with pytest.raises(UserError, match="1 sources and 2 targets"):
        score(translator, ["the"], ["die", "Katze"])


def test_a_device_that_does_not_exist_is_refused(run):
    with pytest.raises(UserError, match="there is no device gpu"):
        Translator.load(run.path, device="gpu")


@pytest.mark.parametrize("beam", [-1, 0, 1001])
def test_impossible_beams_are_refused(translator, beam):
    with pytest.raises(UserError, match=rf"beam is {beam}; write 1 to 1000"):
        translator.translate(["the"], beam=beam)


@pytest.mark.parametrize("nbest", [0, 4])
def test_more_hypotheses_than_the_beam_holds_are_refused(translator, nbest):
    with pytest.raises(UserError, match=rf"nbest is {nbest} and beam 3"):
        translator.translate(["the"], beam=3, nbest=nbest)


NO_NUMBERS = [math.nan, math.inf, -math.inf]
SAMPLING = {"temperature": [0.0, 1e300, *NO_NUMBERS], "top_p": [0.0, 1.5, *NO_NUMBERS]}
SAMPLING |= {"top_k": [-1, 2**63], "seed": [-1, 2**64]}


KINDS = [  # calls with a value of another kind, and the error
    ("translate(T, beam='2')", "beam is '2'; write a whole number"),
    ("translate(T, beam=2.5)", "beam is 2.5; write a whole number"),
    ("translate(T, beam=True)", "beam is True; write a whole number"),
    ("translate(T, nbest=None)", "nbest is None; write a whole number"),
    ("translate(T, length_penalty='x')", "length_penalty is 'x'; write a number"),
    ("translate(T, sampling=True)", "sampling is True; write a seq2seq.Sampling"),
    ("translate(T, sampling=Sampling(top_k=1.5))", "top_k is 1.5; write a whole number"),
    ("translate(T, sampling=Sampling(seed=None))", "seed is None; write a whole number"),
    ("translate(T, sampling=Sampling(temperature='x'))", "temperature is 'x'; write a number"),
    ("translate(T, split_sentences='no')", "split_sentences is 'no'; write True, False or None"),
    ("translate(T, mbr='no')", "mbr is 'no'; write True or False"),
    ("translate(T, attention='no')", "attention is 'no'; write True or False"),
    ("translate(T, prefix=5)", "prefix is 5; give one str for all texts, or one or None for each"),
    ("translate(T, ban=None)", "ban is None; write a list of words, such as ['None']"),
    ("translate(T, ban=['cat', 3])", "ban[1] is 3; write a string"),
    ("translate(np.array('the'))", "texts are array('the', dtype='<U3'); write a list of lines"),
    ("next_tokens('the', count='2')", "count is '2'; write a whole number"),
    ("next_tokens('the', 'abc')", "tokens are 'abc'; write a list of tokens, as Translation.tokens has them"),
    ("load(R, precision='fp8')", "search.precision is 'fp8'; write auto, fp32 or bf16"),
    ("load(R, shortlist='yes')", "shortlist is 'yes'; write True, False or None"),
]


def test_a_value_of_another_kind_is_a_users_error(run):
    # in a process of its own, because the tests check the types of all calls themselves
    code = f"""
import numpy as np, seq2seq
from seq2seq import Sampling, load
R, T = {str(run.path)!r}, ["the cat"]
loaded = load(R)
translate, next_tokens = loaded.translate, loaded.next_tokens
for call in {[call for call, _ in KINDS]!r}:
    try:
        eval(call)
    except seq2seq.UserError as error:
        print(error)
    else:
        print("no error")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [error for _, error in KINDS]


def test_impossible_sampling_is_refused():
    for name, values in SAMPLING.items():
        for value in values:
            with pytest.raises(UserError, match=f"{name} is .*; write .* to "):
                Sampling(**{name: value})


def test_sampling_at_its_limits_draws_translations(translator):
    cold, hot = Sampling(1e-6, top_p=1e-6, seed=2**63 - 1), Sampling(1e6, top_k=10**9)
    assert all(translator.translate(["the cat"], sampling=sampling)[0].tokens for sampling in (cold, hot))


def test_weights_that_are_not_finite_are_an_error_that_says_so(translator):
    blown = copy.deepcopy(translator.model)
    with torch.no_grad():
        blown.decoder.W_y.bias.fill_(torch.nan)
    blown = Translator(blown, translator.tokenizers, translator.search)
    for call in (
        lambda: blown.translate(["the cat"]),
        lambda: blown.translate(["the cat"], sampling=Sampling()),
        lambda: score(blown, ["the cat"], ["die Katze"]),
    ):
        with pytest.raises(UserError, match=r"log-probabilities are not finite.*training.learning_rate"):
            call()


# -------------------------------------------------------------------------------------------------- texts and doubts


TWO = ["the cat sees. The dog likes", "old dog\n\nthe cat. The cat", "", "the"]


@pytest.fixture
def splitting(translator):
    translator.sentences = Sentences(language="en", single=True)
    return translator


@pytest.mark.parametrize("attention", [True, False])
def test_a_text_is_translated_sentence_by_sentence_and_put_together(splitting, attention):
    one, other, third = "the cat sees.", "The dog likes", "old dog"
    parts = splitting.translate([one, other, third, "the cat.", "The cat"], nbest=2, attention=attention)
    first, second, blank, _ = splitting.translate(TWO, nbest=2, attention=attention)
    assert first.text == f"{parts[0].text} {parts[1].text}"
    assert second.text == f"{parts[2].text}\n\n{parts[3].text} {parts[4].text}"
    assert (blank.text, blank.alternatives) == ("", [])
    assert first.tokens == [*parts[0].tokens, *parts[1].tokens]
    assert first.score == pytest.approx(parts[0].score + parts[1].score, abs=1e-4)


def test_the_nbest_list_of_a_text_is_that_of_all_combinations(splitting):
    parts = splitting.translate(["the cat sees.", "The dog likes"], nbest=3)
    (whole,) = splitting.translate(TWO[:1], nbest=3)
    options = [[(each.text, each.normalized_score) for each in (part, *part.alternatives)] for part in parts]
    best = sorted(product(*options), key=lambda pair: -pair[0][1] - pair[1][1])[:3]
    found = [whole, *whole.alternatives]
    assert texts(found) == [f"{a[0]} {b[0]}" for a, b in best]
    assert [t.normalized_score for t in found] == pytest.approx([a[1] + b[1] for a, b in best], abs=1e-4)


def test_a_sentence_of_a_text_looks_at_itself_alone(splitting):
    (whole,), (look,) = splitting.translate(TWO[1:2]), splitting.look(TWO[1:2])
    parts = splitting.translate(["old dog", "the cat.", "The cat"])
    expected = torch.block_diag(*(torch.tensor(part.attention) for part in parts))
    torch.testing.assert_close(torch.tensor(whole.attention), expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(look.decoder.weights[0], expected, atol=1e-5)
    assert (look.decoder.rows, look.decoder.columns) == (whole.tokens, whole.source_tokens)


def test_a_whole_line_stays_one_sentence_if_that_is_asked_for(splitting):
    whole = splitting.translate(TWO, split_sentences=False)
    splitting.sentences = Sentences(language="en")
    assert texts(splitting.translate(TWO[:1])) == texts(whole[:1])
    assert all(t.tokens.count("</s>") <= 1 for t in whole)


def test_the_token_scores_add_up_to_the_score(translator):
    for translation in translator.translate(LINES):
        assert len(translation.token_scores) == len(translation.tokens)
        assert sum(translation.token_scores) == pytest.approx(translation.score, abs=1e-4)
    assert translator.translate(["the"], attention=False)[0].token_scores is None


@pytest.mark.parametrize("kind", [{"type": "bpe", "vocab_size": 330, "sampling": 0.5}])
def test_each_text_of_an_nbest_list_stands_there_once(tmp_path, kind):
    """A model that has seen words cut in several ways finds one text in several ways."""
    run = train(load_config(write_config(tmp_path, tokenizer=kind), ["training.max_updates=60"]), tmp_path / "run")
    translator = Translator.load(run.path)
    (outcome,) = translator.engine.hypothesize(translator.engine.encode(LINES[:1]), Options(beam=30, nbest=30))
    hypotheses = [translator.tokenizers.tgt.decode(hypothesis.tokens) for hypothesis in outcome.hypotheses]
    assert len(set(hypotheses)) < len(hypotheses)
    (translation,) = translator.translate(LINES[:1], beam=30, nbest=8)
    found = texts([translation, *translation.alternatives])
    assert found == list(dict.fromkeys(hypotheses))[:8]


def test_a_run_says_what_it_is_unsure_of(run, translator):
    dev = (run.path.parent / "dev.en").read_text("utf-8").splitlines()
    known, unknown = translator.translate(dev), translator.translate(["qqq zzz", "", "the qqq yyy"])
    assert not any(t.unsure for t in known)
    assert [t.unsure for t in unknown] == [
        "mostly unknown words: qqq, zzz",
        None,
        "mostly unknown words: qqq, yyy",
    ]
    assert translator.translate(["qqq zzz"], sampling=Sampling())[0].unsure is None  # drawn at random: never likely
    assert repr(unknown[1]) == "<Translation '', score 0.00>"
    assert repr(unknown[0]).endswith(", unsure (mostly unknown words: qqq, zzz)>")


def test_a_text_of_several_sentences_has_the_reasons_of_all(splitting):
    text = splitting.translate(["qqq zzz. The cat sees the dog\nyyy"])[0]
    assert text.unsure.count("mostly unknown words") == 2


def test_a_run_without_rules_and_floors_translates_whole_lines_and_doubts_nothing(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    for name in ("sentences.json", "confidence.json"):
        (tmp_path / "run" / name).unlink()
    old = Translator.load(tmp_path / "run")
    assert (old.sentences, old.confidence) == (Sentences.of_language("en"), None)
    assert old.translate(["qqq zzz. Yyy."])[0].unsure is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("sentences.json", "{}"),
        ("confidence.json", '{"floors": 1}'),
        ("confidence.json", '{"floors": {}, "counts": [1], "neighbors": [1], "neighbor_counts": [], "marked": {}}'),
        ("confidence.json", '{"floors": {}, "counts": [-1], "marked": {}}'),
    ],
)
def test_damaged_rules_and_floors_are_named(run, tmp_path, name, content):
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / name).write_text(content)
    with pytest.raises(UserError, match=f"{name}: damaged, .*delete it"):
        Translator.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["the", None], r"texts\[1\] is None, not a string"),
        ([3], r"texts\[0\] is 3, not a string"),
        (b"the", "not one string"),
        (None, "texts are None; write a list"),
        ({"first": "the"}, "texts are a dict, which has no lines in order; write a list"),
        ({"the"}, "texts are a set, "),
    ],
)
def test_what_is_no_text_is_named_by_its_index(texts, message):
    with pytest.raises(UserError, match=message):
        must_be_texts(texts)


def test_a_run_trained_on_a_device_that_is_not_here_opens_on_the_cpu(run, tmp_path, caplog):
    shutil.copytree(run.path, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text("utf-8").replace("device: auto", "device: cuda:99"), encoding="utf-8")
    assert Translator.load(tmp_path / "run").device.type == "cpu"
    assert "cuda:99, which this machine does not have: going on, on the CPU" in caplog.text
    with pytest.raises(UserError, match="the device is to be cuda:99"):
        Translator.load(tmp_path / "run", device="cuda:99")


# ------------------------------------------------------------------------------------------------------- looking


def test_a_look_holds_the_translation_and_its_weights(translator):
    (look,) = translator.look(["the old cat sees"])
    (translation,) = translator.translate(["the old cat sees"])
    assert look.translation.text == translation.text
    assert look.decoder.rows == translation.tokens
    assert look.decoder.columns == translation.source_tokens
    assert look.decoder.heads == ["attention"]
    assert look.encoder is None
    np.testing.assert_allclose(look.decoder.mean().weights[0], translation.attention, atol=1e-6)


def test_an_empty_line_has_nothing_to_look_at(translator):
    first, second = translator.look(["", "the cat"])
    assert (first.translation.text, first.decoder, first.encoder) == ("", None, None)
    assert second.decoder is not None
    with pytest.raises(UserError, match="the text is empty"):
        look_at(translator, " ", second.ids)


def test_looking_at_given_tokens_uses_them_and_has_their_score(translator):
    ids = translator.tokenizers.tgt.encode("die alte Katze")
    look = look_at(translator, "the cat sees", ids)
    assert (look.ids, look.decoder.rows) == (ids, ["die", "alte", "Katze", "</s>"])
    assert look.translation.score == pytest.approx(score(translator, ["the cat sees"], ["die alte Katze"])[0])


def test_pairs_are_scored_and_looked_at_token_by_token(translator):
    sources, targets = ["the cat sees", "", "old dog"], ["die Katze", "die", "alte Hund Hund"]
    scored, looks = score_tokens(translator, sources, targets), look_at_pairs(translator, sources, targets)
    assert [sum(each.scores) for each in scored] == pytest.approx(score(translator, sources, targets))
    assert scored[0].tokens == ["die", "Katze", "</s>"]
    assert [len(each.scores) for each in scored] == [3, 2, 4]
    assert looks[1].decoder is None
    for i in (0, 2):
        assert looks[i].decoder.rows == scored[i].tokens
        assert looks[i].translation.token_scores == pytest.approx(scored[i].scores, abs=1e-5)


def test_looking_at_the_ids_of_a_look_gives_the_same_look(translator):
    translator.engine.search = translator.search.model_copy(update={"length_penalty": 1.0})
    (found,) = translator.look(["the old cat sees"])
    again = look_at(translator, "the old cat sees", found.ids)
    assert again.decoder.rows == found.decoder.rows
    assert again.translation.score == pytest.approx(found.translation.score, abs=1e-4)
    assert again.translation.normalized_score == pytest.approx(found.translation.normalized_score, abs=1e-4)
    np.testing.assert_allclose(again.decoder.weights, found.decoder.weights, atol=1e-5)


def test_a_text_of_unknown_words_can_be_looked_at(translator):
    (look,) = translator.look(["qqq zzz"])
    assert look.decoder.columns == ["<unk>", "<unk>", "</s>"]


def test_a_model_without_attention_has_no_map_and_no_weights(translator):
    blind = Translator(random_model("none", spread=1), tokenizers(), translator.search)
    assert (blind.decoder_heads, blind.encoder_heads) == ([], [])
    (look,) = blind.look(["w5 w6"])
    assert (look.decoder, look.encoder) == (None, None)
    assert look_at(blind, "w5 w6", look.ids).decoder is None
    assert [each.attention for each in blind.translate(["w5 w6", ""])] == [None, None]


def test_the_weights_of_an_empty_line_are_no_rows(translator):
    assert translator.translate([""])[0].attention == []


@pytest.mark.parametrize(
    ("options", "decoder", "encoder"),
    [
        ({"score": "none", "encoder": {"self_attention_layers": 1}}, None, ["head 1", "head 2"]),
        ({"encoder": {"self_attention_layers": 1}}, ["attention"], ["head 1", "head 2"]),
        (
            {"encoder": {"type": "self_attention", "num_layers": 2}, "score": "multi_head"},
            ["head 1", "head 2"],
            ["layer 1 head 1", "layer 1 head 2", "layer 2 head 1", "layer 2 head 2"],
        ),
        (
            {"decoder": {"type": "transformer", "num_layers": 2}, "score": "multi_head"},
            ["layer 1 head 1", "layer 1 head 2", "layer 2 head 1", "layer 2 head 2"],
            None,
        ),
    ],
)
def test_every_head_is_named_and_its_rows_sum_to_one(translator, options, decoder, encoder):
    model = random_model(options.pop("score", "general"), embedding_size=8, spread=1, **options)
    looks = Translator(model, tokenizers(), translator.search).look(["w5 w6 w7", "w5", "w9 w8"])
    for look, source in zip(looks, (4, 2, 3), strict=True):
        rows = (look.translation.tokens, look.translation.source_tokens)
        for seen, heads, tokens in zip((look.decoder, look.encoder), (decoder, encoder), rows, strict=True):
            assert (seen and seen.heads) == heads
            if seen:
                assert (seen.rows, seen.columns) == (tokens, look.translation.source_tokens)
                assert seen.weights.shape == (len(heads), len(tokens), source)
                np.testing.assert_allclose(seen.weights.sum(-1), 1, atol=1e-5)


def test_a_source_longer_than_the_table_of_location_attention_is_translated_and_looked_at(translator):
    blind_beyond = Translator(random_model("location", spread=1), tokenizers(), translator.search)  # 21 positions
    (look,) = blind_beyond.look(["w5 " * 40])
    assert len(look.decoder.columns) == 41
    assert not look.decoder.weights[..., 21:].any()
    np.testing.assert_allclose(look.decoder.weights.sum(-1), 1, atol=1e-5)


# ------------------------------------------------------------------------------------ next tokens, unknown words


def test_the_next_tokens_are_the_likeliest_after_those_that_are_kept(translator):
    (greedy,) = translator.translate(["the cat sees"], beam=1)
    for t, token in enumerate(greedy.tokens):
        found = translator.next_tokens("the cat sees", greedy.tokens[:t], count=100)
        assert found[0].token == token
        assert math.log(found[0].probability) == pytest.approx(greedy.token_scores[t], abs=1e-4)
        assert [each.probability for each in found] == sorted((each.probability for each in found), reverse=True)
        assert len({each.token for each in found}) == len(found) == len(translator.tokenizers.tgt) - 3
        assert sum(each.probability for each in found) < 1 + 1e-5
        assert not {"<pad>", "<unk>", "<s>"} & {each.token for each in found}
    assert translator.next_tokens("the cat sees", greedy.tokens) == translator.next_tokens("", ()) == []
    assert len(translator.next_tokens("the cat", count=2)) == 2


def test_next_tokens_of_a_text_are_those_of_the_sentence_that_is_reached(splitting):
    first = splitting.translate(["the cat sees."])[0].tokens
    alone = splitting.next_tokens("The dog likes", ["die"])
    assert splitting.next_tokens("the cat sees. The dog likes", [*first, "die"]) == alone
    assert splitting.next_tokens("the cat sees. The dog likes", first) == splitting.next_tokens("The dog likes")


@pytest.mark.parametrize(
    ("tokens", "count", "message"),
    [
        (["zzz"], 5, "holds 'zzz', which no"),
        ([], 0, "count is 0; write 1"),
        (["</s>"] * 2, 5, "ends 2 sentences"),
    ],
)
def test_impossible_next_tokens_are_refused(translator, tokens, count, message):
    with pytest.raises(UserError, match=message):
        translator.next_tokens("the cat", tokens, count)


def test_an_unknown_word_becomes_the_source_word_that_it_looks_at_most():
    model = random_model(spread=2)
    with torch.no_grad():
        model.decoder.W_y.bias[UNK] += 4
    named = Translator(model, tokenizers(), SearchConfig(max_length=6, min_length=4, replace_unknown=True))
    plain = Translator(model, tokenizers(), SearchConfig(max_length=6, min_length=4))
    text, unknown = "Seoul w5 w6 Zyx", 0
    for options in ({"beam": 5, "nbest": 4}, {"beam": 1, "attention": False}, {"sampling": Sampling()}):
        (found,) = named.translate([text], **options)
        (look,) = named.look([text], Options(**{key: value for key, value in options.items() if key != "attention"}))
        assert (look.translation.text, "<unk>" in found.text) == (found.text, False)
        unknown += found.tokens.count("<unk>")
        for token, word, weights in zip(found.tokens, found.text.split(), look.decoder.weights[0], strict=False):
            assert word == (text.split()[weights[:4].argmax()] if token == "<unk>" else token)
        assert not any("<unk>" in other.text for other in found.alternatives)
        assert "<unk>" not in plain.translate([text], **options)[0].tokens
    assert unknown > 3
    assert "<unk>" not in named.translate([text], ban=["w5"])[0].tokens  # a copied word might be banned
    assert named.translate(["", "w5"])[0].text == ""


def test_what_is_no_run_is_named_and_a_translator_is_shown_in_a_line(translator):
    for run in (None, 3):
        with pytest.raises(UserError, match=f"run is {run}; write the path of a run folder"):
            seq2seq.load(run)
    assert re.fullmatch(r"<Translator of [\d,]+ parameters and 18 target tokens, on cpu>", repr(translator))


def test_a_look_has_all_that_a_translation_has(translator):
    options = {"beam": 4, "nbest": 3, "length_penalty": 1.0}
    (look,), (translation,) = translator.look(LINES[:1], Options(**options)), translator.translate(LINES[:1], **options)
    assert look.translation == translation
    assert len(translation.alternatives) == 2
