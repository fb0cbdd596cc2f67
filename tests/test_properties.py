"""What holds for any text, any file, any config and any model: readers, tokenizers, config, search."""

import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from seq2seq.config import Config, load_config, parse_config
from seq2seq.data.corpus import Pair, encode_pairs, read_pairs
from seq2seq.data.lines import stream_lines
from seq2seq.decoding.sampling import sample
from seq2seq.decoding.search import Limits, beam_search, length_penalty
from seq2seq.decoding.translation import Sampling
from seq2seq.errors import UserError
from seq2seq.text.normalize import is_broken, normalize
from seq2seq.text.tokenizer import BOS, EOS, PAD, UNK, train_tokenizers
from seq2seq.text.vocabularies import load_tokenizers, save_tokenizers

ROOT = Path(__file__).resolve().parent.parent
CHARACTERS = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.sampled_from("\0\x1b\x85\u2028\u2029\ufeff\u00a0\u3000\t\r \u0301\u2581\u2585e가\U0001f600\U0010ffff"),
)
TEXT = st.text(CHARACTERS, max_size=20)
TEXTS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6)
ANY_TEXT = st.text(st.one_of(CHARACTERS, st.characters(categories=["Cs"])), max_size=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("properties")


def tried(function, *arguments):
    """What a function returns, or the user's mistake that it raises."""
    try:
        return function(*arguments)
    except UserError as error:
        return error


def fresh(folder):
    for file in folder.glob("p.*"):
        file.unlink()
    return folder / "p"


def write(path, text):
    data = text.encode()
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)


# ----------------------------------------------------------------------------------------------------------- readers


@settings(deadline=None, max_examples=60)
@given(TEXTS, st.sampled_from(["", ".gz"]), st.sampled_from(["\n", "\r\n"]))
def test_whatever_stands_in_two_files_is_read_back(folder, rows, packed, end):
    rows = [tuple(text.replace("\n", " ") for text in row) for row in rows]
    prefix = fresh(folder)
    for side, name in enumerate(("en", "de")):
        write(folder / f"p.{name}{packed}", "".join(row[side] + end for row in rows))
    assert read_pairs(prefix, "en", "de") == [Pair.normalized(*row) for row in rows]


@settings(deadline=None, max_examples=60)
@given(TEXTS, st.sampled_from([".tsv", ".tsv.gz"]))
def test_whatever_stands_in_a_table_is_read_back(folder, rows, name):
    rows = [tuple(text.replace("\n", " ").replace("\t", " ") for text in row) for row in rows]
    prefix = fresh(folder)
    write(folder / f"p{name}", "".join(f"{src}\t{tgt}\n" for src, tgt in rows))
    assert read_pairs(prefix, "en", "de") == [Pair.normalized(*row) for row in rows]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT), min_size=1, max_size=6), st.sampled_from([".jsonl", ".jsonl.gz"]))
def test_whatever_stands_in_json_lines_is_read_back(folder, rows, name):
    prefix = fresh(folder)
    write(folder / f"p{name}", "".join(json.dumps({"de": tgt, "en": src}) + "\n" for src, tgt in rows))
    assert read_pairs(prefix, "en", "de") == [Pair.normalized(*row) for row in rows]


NEARLY = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from(
            [b"\n", b"\t", b"\r", b"\xef\xbb\xbf", b"a", b'{"en": "a", "de": "b"}\n', b"a\tb\n", b'"\\ud800"']
        ),
    ),
    max_size=8,
).map(b"".join)


@settings(deadline=None, max_examples=150)
@given(NEARLY, NEARLY, st.sampled_from(["sides", "tsv", "jsonl"]), st.sampled_from(["plain", "packed", "broken"]))
def test_any_bytes_are_read_or_refused_with_the_file_named(folder, data, other, kind, packing):
    prefix = fresh(folder)
    names = {"p.en": data, "p.de": other} if kind == "sides" else {f"p.{kind}": data}
    for name, content in names.items():
        if packing == "plain":
            (folder / name).write_bytes(content)
        else:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1) if packing == "packed" else content)
    pairs = tried(read_pairs, prefix, "en", "de")
    if isinstance(pairs, UserError):
        assert str(folder / "p.") in str(pairs)
        assert len(str(pairs).splitlines()) == 1
    else:
        assert pairs
        assert all(text == normalize(text) for pair in pairs for text in pair)


def bytes_are_utf_8(data):
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@settings(deadline=None, max_examples=60)
@given(NEARLY)
def test_any_bytes_have_as_many_lines_as_line_feeds_or_one_more(folder, data):
    (folder / "lines").write_bytes(data)
    lines = tried(lambda path: list(stream_lines(path)), folder / "lines")
    if isinstance(lines, UserError):
        assert f"{folder / 'lines'}:" in str(lines)
        assert not bytes_are_utf_8(data) or (b"\r" in data and b"\n" not in data)
    else:
        assert data.count(b"\n") <= len(lines) <= data.count(b"\n") + 1


@settings(deadline=None, max_examples=150)
@given(ANY_TEXT)
def test_what_is_not_broken_is_changed_in_nothing_but_its_spaces_and_its_form(text):
    assert not is_broken(normalize(text))
    if not is_broken(text):
        assert normalize(text) == normalize(" ".join(text.split()))
    assert is_broken(text + "\0")


class Characters:
    """One token a character."""

    def encode_lines(self, lines):
        return [list(map(ord, line)) for line in lines]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT), max_size=6), st.integers(1, 12))
def test_every_pair_is_kept_or_counted(rows, most):
    kept, report = encode_pairs(rows, Characters(), Characters(), most)
    assert len(kept) == report.kept == len(rows) - report.blank - report.too_long
    assert report.cleaned == sum(is_broken(src) or is_broken(tgt) for src, tgt in rows)
    assert all(1 < len(side) <= most + 1 and side[-1] == EOS for pair in kept for side in pair)


# -------------------------------------------------------------------------------------------------------- tokenizers

TYPES = ["unigram", "bpe", "char", "word"]
LINES = ["the cat sees the old dog", "die Katze sieht den alten Hund", "고양이가 개를 본다", "the </s> <pad> ▅"] * 5


@pytest.fixture(scope="module")
def tokenizers():
    return {type: train_tokenizers(type, 340, True, False, "split", LINES, LINES).src for type in TYPES}


@pytest.mark.parametrize("type", TYPES)
@settings(deadline=None, max_examples=60)
@given(text=ANY_TEXT)
@example(text="<pad> <s> </s> <unk>")
@example(text="\0" * 50)
def test_any_text_has_ids_of_the_vocabulary_and_none_that_is_reserved(tokenizers, type, text):
    tokenizer, text = tokenizers[type], normalize(text)
    ids = tokenizer.encode(text)
    assert bool(ids) == bool(text)
    assert all(UNK <= i < len(tokenizer) and i not in (BOS, EOS) for i in ids)
    assert type == "word" or UNK not in ids
    numbers = tokenizer.word_numbers([*ids, EOS])
    assert len(tokenizer.pieces(ids)) == len(ids) == len(numbers) - 1
    assert all(after - before in (0, 1) for before, after in pairwise(numbers))


@pytest.mark.parametrize("type", TYPES)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_ids_are_some_normalized_text(tokenizers, type, data):
    text = tokenizers[type].decode(data.draw(st.lists(st.integers(0, len(tokenizers[type]) - 1), max_size=12)))
    assert text == normalize(text)
    assert text.encode().decode() == text


@pytest.mark.parametrize("type", TYPES)
@settings(deadline=None, max_examples=8)
@given(lines=st.lists(ANY_TEXT.map(normalize), min_size=1, max_size=6))
def test_a_vocabulary_of_any_text_can_be_learned_and_loaded_or_says_why_not(folder, type, lines):
    made = tried(train_tokenizers, type, 600, True, False, "split", lines, lines)
    if isinstance(made, UserError):
        assert not any(lines)
        return
    save_tokenizers(made, folder / "learned")
    loaded = load_tokenizers(folder / "learned")
    for line in lines:
        assert loaded.src.encode(line) == made.src.encode(line)
        assert UNK not in made.src.encode(line) or type == "word"


# ------------------------------------------------------------------------------------------------------------ config

WRITTEN = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
POSITIVE = st.floats(1e-6, 1e6, allow_nan=False)
VALUES = {
    ("seed",): st.integers(0, 2**32 - 1),
    ("data", "train"): WRITTEN,
    ("data", "dev"): WRITTEN,
    ("data", "test"): st.none() | WRITTEN,
    ("data", "src"): WRITTEN,
    ("data", "tgt"): WRITTEN,
    ("data", "max_length"): st.integers(1, 10**9),
    ("tokenizer", "type"): st.sampled_from(TYPES),
    ("tokenizer", "vocab_size"): st.integers(5, 10**6),
    ("tokenizer", "lowercase"): st.booleans(),
    ("model", "dropout"): st.floats(0, 0.99),
    ("model", "encoder", "num_layers"): st.integers(1, 9),
    ("model", "attention", "score"): st.sampled_from(["none", "dot", "Luong", "bahdanau", "Scaled-Dot", "location"]),
    ("model", "attention", "window"): st.sampled_from(["global", "local_m", "local_p"]),
    ("training", "learning_rate"): POSITIVE,
    ("training", "clip_norm"): POSITIVE,
    ("training", "max_updates"): st.integers(1, 10**12),
    ("search", "length_penalty"): st.floats(0, 5),
    ("search", "max_length"): st.none() | st.integers(1, 1000),
}
NEEDED = [("data", key) for key in ("train", "dev", "src", "tgt")]


@settings(deadline=None, max_examples=100)
@example({**dict.fromkeys(NEEDED, "0"), ("data", "tgt"): "\x85"})
@given(
    st.fixed_dictionaries({k: VALUES[k] for k in NEEDED}, optional={k: v for k, v in VALUES.items() if k not in NEEDED})
)
def test_any_config_means_the_same_when_it_was_written_and_read(folder, values):
    data = {}
    for (*sections, key), value in values.items():
        section = data
        for name in sections:
            section = section.setdefault(name, {})
        section[key] = value
    config = tried(parse_config, data, "made")
    assume(isinstance(config, Config))  # keys may contradict each other
    (folder / "made.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(folder / "made.yaml") == config


SPECIAL = [  # in YAML
    *(
        f"!!{tag} "
        for tag in ("int", "float", "bool", "null", "set", "omap", "pairs", "binary", "timestamp", "python/x")
    ),
    *(
        mark + " "
        for mark in ("&a", "*a", "<<:", "!<x>", "?", "-", "|", ">", ":", "{", "}", "[", "]", ",", "'", '"', "#")
    ),
    *("%YAML 9.9\n", "---\n", "...\n", "\n", "\n  ", "\t", "~", "=", "1e999", ".nan", "-.inf", "0x", "0b", "1:99:99.9"),
    *("2024-99-99", "2001-12-14t21:59:43.10-05:00", "no", "\ufeff", "\0", "\x85", "\u2028", "\\", '"\\x1b"', '"\\n"'),
]
PIECES = st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), st.sampled_from(SPECIAL))
TOY = (ROOT / "configs" / "toy.yaml").read_text(encoding="utf-8")


def is_a_config_or_one_line(path, overrides=()):
    found = tried(load_config, path, overrides)
    assert isinstance(found, Config | UserError)
    if isinstance(found, UserError):
        assert str(found).removeprefix(str(path)).isprintable()
        assert len(str(found)) < 1000 + len(str(path))


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_config_that_was_cut_and_pasted_at_random_is_a_config_or_one_mistake(folder, data):
    text = TOY
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = begin + data.draw(st.sampled_from([0, 0, 1, 5, 40]))
        text = text[:begin] + data.draw(PIECES) + text[end:]
    (folder / "cut.yaml").write_text(text, encoding="utf-8")
    is_a_config_or_one_line(folder / "cut.yaml")


@settings(deadline=None, max_examples=150)
@given(st.lists(PIECES, max_size=6).map("".join))
def test_any_pieces_of_yaml_are_a_config_or_one_mistake(folder, text):
    (folder / "any.yaml").write_text("data: {train: a, dev: b, src: en, tgt: de}\nseed: " + text, encoding="utf-8")
    is_a_config_or_one_line(folder / "any.yaml")


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(["", "seed=", "search.beam=", "search=", "data.train=", "model.encoder=", "=", ".", "model.x="]),
    st.lists(st.one_of(PIECES, ANY_TEXT), max_size=4).map("".join),
)
def test_any_override_is_a_config_or_one_mistake(key, text):
    is_a_config_or_one_line(ROOT / "configs" / "toy.yaml", [key + text])


# ------------------------------------------------------------------------------------------------------------ search


class Chain:
    """A model whose next token depends on the sentence and the last token alone; its state counts positions."""

    def __init__(self, logits):
        self.log_probs = logits.log_softmax(-1)  # (sentence, last token, next token)

    def step(self, tokens, state, running):
        return self.log_probs[state.sentence[running], tokens[running]], state


class Sentences:
    def __init__(self, sentence):
        self.sentence = sentence

    def select(self, rows, sentences):
        return Sentences(self.sentence[rows])


@st.composite
def chains(draw):
    """A model, and the longest translation of each sentence."""
    vocab, lengths = draw(st.integers(5, 9)), draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    logits = draw(st.sampled_from([0.0, 1.0, 4.0, 30.0])) * torch.randn(len(lengths), vocab, vocab, generator=generator)
    if draw(st.booleans()):
        logits = logits.round()  # ties
    if draw(st.booleans()):
        logits[:, :, EOS + 1 :].masked_fill_(torch.rand(vocab - EOS - 1, generator=generator) < 0.5, -torch.inf)
    return Chain(logits), lengths


def limits(lengths):
    return Limits(BOS, EOS, (PAD, UNK, BOS), torch.tensor(lengths))


def score_of(chain, sentence, tokens):
    path = [BOS, *tokens, EOS]
    return sum(chain.log_probs[sentence, a, b].double().item() for a, b in pairwise(path))


@settings(deadline=None, max_examples=100)
@given(chains(), st.integers(1, 7), st.integers(1, 7), st.floats(0, 2))
def test_any_search_keeps_its_promises(made, beam, nbest, alpha):
    chain, lengths = made
    nbest = min(beam, nbest)
    start = Sentences(torch.arange(len(lengths)))
    found = beam_search(chain.step, start, limits(lengths), beam=beam, alpha=alpha, nbest=nbest)
    more = beam_search(chain.step, start, limits(lengths), beam=beam, alpha=alpha, nbest=beam)
    assert len(found) == len(lengths)
    for sentence, hypotheses in enumerate(found):
        assert 1 <= len(hypotheses) <= nbest
        assert hypotheses == more[sentence][:nbest]
        order = [(-h.normalized_score, h.tokens) for h in hypotheses]
        assert order == sorted(order)
        assert len({tuple(h.tokens) for h in hypotheses}) == len(hypotheses)
        for h in hypotheses:
            assert len(h.tokens) < lengths[sentence]
            assert all(EOS < token < chain.log_probs.size(-1) for token in h.tokens)
            assert h.score == pytest.approx(score_of(chain, sentence, h.tokens), abs=1e-4)
            assert h.normalized_score == pytest.approx(h.score / length_penalty(len(h.tokens) + 1, alpha), abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(chains(), st.integers(1, 6))
def test_a_search_of_everything_is_never_behind_a_narrow_one(made, beam):
    chain, lengths = made
    lengths = [min(length, 3) for length in lengths]
    start = Sentences(torch.arange(len(lengths)))
    narrow = beam_search(chain.step, start, limits(lengths), beam=beam)
    every = beam_search(chain.step, start, limits(lengths), beam=chain.log_probs.size(-1) ** 3)
    assert all(a[0].score <= b[0].score + 1e-9 for a, b in zip(narrow, every, strict=True))


@settings(deadline=None, max_examples=60)
@given(chains(), st.floats(0.05, 5), st.integers(0, 5), st.floats(0.01, 1), st.integers(0, 2**31))
def test_any_sampling_keeps_its_promises(made, temperature, top_k, top_p, seed):
    chain, lengths = made
    start, generator = Sentences(torch.arange(len(lengths))), torch.Generator().manual_seed(seed)
    found = sample(chain.step, start, limits(lengths), Sampling(temperature, top_k, top_p), generator)
    for sentence, (h,) in enumerate(found):
        assert len(h.tokens) < lengths[sentence]
        assert all(EOS < token < chain.log_probs.size(-1) for token in h.tokens)
        assert h.score == pytest.approx(score_of(chain, sentence, h.tokens), abs=1e-4)
