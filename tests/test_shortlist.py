"""The shortlist: what is learnt is Model 1, and search within it is search, among fewer tokens."""

import errno
import random
import shutil
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from counting import Counting
from random_model import SENTENCES, SRC_VOCAB, TGT_VOCAB, batch_of, random_model, tokenizers
from tiny import WORDS, write_config

from seq2seq.commands.main import main
from seq2seq.config import SearchConfig, load_config
from seq2seq.data import dataset
from seq2seq.data.dataset import shortlist_of
from seq2seq.data.flat import flatten
from seq2seq.decoding.search import Limits, beam_search
from seq2seq.decoding.translation import Sampling
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.fast import shortlist as module
from seq2seq.fast.shortlist import Shortlist, expected_counts, learn_shortlist
from seq2seq.text.tokenizer import BOS, EOS, PAD, UNK
from seq2seq.training.train import train

SPECIAL = [PAD, UNK, BOS, EOS]
LISTED = torch.tensor([0, 1, 2, 3, 5, 8, 9, 11])


def learn(pairs, src, tgt, copy_source=False):
    sides = [(np.array(x), np.array(y, int)) for x, y in pairs]
    return learn_shortlist(sides, src, tgt, special=SPECIAL, copy_source=copy_source)


class Corpus:
    """Pairs in chunks of so many; it notes which chunks are read."""

    def __init__(self, pairs, chunk=1000):
        self._chunks = [flatten(pairs[i : i + chunk], np.dtype("<u2")) for i in range(0, len(pairs), chunk)]
        self.tokens = np.concatenate([tokens for _, tokens in self._chunks])
        self.begins = np.cumsum([0, *(len(tokens) for _, tokens in self._chunks)])[:-1].tolist()
        self.read = []

    def lengths(self, chunk):
        self.read.append(chunk)
        return self._chunks[chunk][0]


def random_pairs(count, src=9, tgt=8, seed=1):
    rng = random.Random(seed)
    return [
        ([*rng.choices(range(4, src), k=rng.randint(1, 5)), EOS], rng.choices(range(4, tgt), k=rng.randint(0, 5)))
        for _ in range(count)
    ]


def lexicon(count=300, words=40, frequent=3, seed=2):
    """Pairs in which token x stands for x + words, in another order, among a few tokens that stand for nothing."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(count):
        src = rng.choices(range(4, 4 + words), k=rng.randint(2, 6))
        tgt = [x + words for x in src] + rng.choices(range(4, 4 + frequent), k=6)
        pairs.append(([*src, EOS], [*rng.sample(tgt, len(tgt)), EOS]))
    return pairs, 4 + words, 4 + 2 * words


# ------------------------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_the_expected_counts_are_those_of_em_by_hand(iterations):
    pairs = random_pairs(30)
    t = defaultdict(lambda: 1.0)
    for _ in range(iterations):
        c = defaultdict(float)
        for src, tgt in pairs:
            for y in tgt:
                for x in src:
                    c[x, y] += t[x, y] / sum(t[other, y] for other in src)
        t = {(x, y): c[x, y] / sum(value for (other, _), value in c.items() if other == x) for x, y in c}
    found = expected_counts([(np.array(src), np.array(tgt, int)) for src, tgt in pairs], iterations)
    assert list(zip(found.x.tolist(), found.y.tolist(), strict=True)) == sorted(c)
    np.testing.assert_allclose(found.c, [c[key] for key in sorted(c)], rtol=1e-5, atol=1e-7)


def test_each_occurrence_of_a_target_token_is_due_to_one_source_token():
    pairs = random_pairs(50)
    found = expected_counts([(np.array(src), np.array(tgt, int)) for src, tgt in pairs], 3)
    occurrences = np.bincount([y for _, tgt in pairs for y in tgt])
    np.testing.assert_allclose(np.bincount(found.y, found.c), occurrences, rtol=1e-6)


def test_the_translation_of_a_token_is_its_likeliest_candidate(monkeypatch):
    monkeypatch.setattr(module, "FREQUENT", 4)
    pairs, src, tgt = lexicon()
    learnt = learn(pairs, src, tgt)
    assert learnt.always.tolist() == [*SPECIAL, 4, 5, 6]
    assert learnt.candidates[4:, 0].tolist() == list(range(44, 84))
    lists = [learnt.ids([src]).tolist() for src, _ in pairs]
    assert all(set(tgt) <= set(listed) for (_, tgt), listed in zip(pairs, lists, strict=True))
    assert np.mean([len(listed) for listed in lists]) < 30


def test_a_token_that_is_always_listed_is_nobodys_candidate(monkeypatch):
    monkeypatch.setattr(module, "FREQUENT", 10)
    learnt = learn(*lexicon())
    assert len(learnt.always) == 13  # `</s>` is one of the ten
    assert not np.isin(learnt.candidates[learnt.candidates != PAD], learnt.always).any()


def test_candidates_are_due_to_their_token_at_least_once_or_the_likeliest(monkeypatch):
    monkeypatch.setattr(module, "FREQUENT", 0)
    monkeypatch.setattr(module, "PER_TOKEN", 3)
    pairs = random_pairs(40, src=12, tgt=12)
    learnt = learn(pairs, 12, 12)
    found = expected_counts([(np.array(src), np.array(tgt, int)) for src, tgt in pairs], module.ITERATIONS)
    for x in set(found.x.tolist()):
        due = sorted(((-c, y) for z, y, c in zip(*found, strict=True) if z == x))
        expected = [y for rank, (c, y) in enumerate(due[:3]) if rank == 0 or -c >= 1]
        assert [y for y in learnt.candidates[x].tolist() if y != PAD] == expected


def test_a_small_vocabulary_is_listed_whole():
    learnt = learn(*lexicon())
    assert learnt.ids([[5, EOS]]).tolist() == list(range(84))
    assert not learnt.candidates.any()


@pytest.mark.parametrize("joint", [True, False])
def test_source_tokens_are_copied_where_the_vocabulary_is_joint(monkeypatch, joint):
    monkeypatch.setattr(module, "FREQUENT", 0)
    vocabularies = SimpleNamespace(src=range(20), tgt=range(20), joint=joint)
    learnt = shortlist_of(Corpus([([5, 6, EOS], [7, EOS])]), vocabularies)
    assert learnt.ids([[5, 15, EOS]]).tolist() == ([*SPECIAL, 5, 7, 15] if joint else [*SPECIAL, 7])


def test_of_a_large_corpus_evenly_spaced_chunks_are_read_and_evenly_spaced_pairs_learnt_from(monkeypatch):
    learnt_from = []
    monkeypatch.setattr(dataset, "SHORTLIST_CHUNKS", 3)
    monkeypatch.setattr(module, "FREQUENT", 0)
    monkeypatch.setattr(module, "EVENTS", 2 * 10)
    monkeypatch.setattr(
        module, "expected_counts", lambda pairs, n: learnt_from.extend(pairs) or expected_counts(pairs, n)
    )
    corpus = Corpus([([4 + i, EOS], [4 + i, EOS]) for i in range(100)], chunk=10)
    shortlist_of(corpus, SimpleNamespace(src=range(104), tgt=range(104), joint=False))
    assert corpus.read == [0, 4, 8]
    kept = [int(src[0]) - 4 for src, _ in learnt_from]
    among_read = [10 * corpus.read.index(i // 10) + i % 10 for i in kept]
    assert (len(kept), among_read[0], among_read[-1]) == (10, 0, 29)
    assert set(np.diff(among_read)) <= {3, 4}


def test_a_pair_that_is_too_long_for_the_limit_is_still_learnt_from(monkeypatch):
    monkeypatch.setattr(module, "EVENTS", 1)
    monkeypatch.setattr(module, "FREQUENT", 0)
    learnt = learn([([5, 6, EOS], [7, 8, EOS])], 9, 9)
    assert 7 in learnt.ids([[5, EOS]]).tolist()


def test_the_list_of_a_batch_is_the_sorted_union_of_those_of_its_sentences_and_begins_with_the_special_tokens():
    candidates = np.zeros((20, 3), np.int32)
    candidates[5], candidates[6] = [17, 9, PAD], [9, 30, 4]
    shortlist = Shortlist(np.array([0, 1, 2, 3, 12], np.int32), candidates)
    assert shortlist.ids([[5, EOS]]).tolist() == [0, 1, 2, 3, 9, 12, 17]
    assert shortlist.ids([[6, EOS], [5, 7, 5, EOS]]).tolist() == [0, 1, 2, 3, 4, 9, 12, 17, 30]


# -------------------------------------------------------------------------------------------------- search within


MODELS = [
    {},
    {"decoder": {"input_feeding": True}},
    {"decoder": {"type": "bahdanau"}},
    {"score": "multi_head", "embedding_size": 8, "decoder": {"type": "transformer", "num_layers": 2}},
    {"tie": "none"},
]


@pytest.mark.parametrize("options", MODELS)
@torch.inference_mode()
def test_a_step_within_a_list_gives_the_models_probabilities_over_what_the_list_has_of_them(options):
    model = random_model(**options)
    exact = within = model.encode(*batch_of(SENTENCES))
    step_within = model.step_within(LISTED)
    running = torch.tensor([0, 1])
    for places in ([2, 2, 2], [4, 5, 6], [7, 4, 3]):
        tokens = torch.tensor(places)
        log_p, exact = model.step(LISTED[tokens], exact, running)
        listed, within = step_within(tokens, within, running)
        torch.testing.assert_close(listed, log_p[:, LISTED].log_softmax(1))


@pytest.mark.parametrize("options", MODELS)
@torch.inference_mode()
def test_search_within_a_list_is_search_with_all_other_tokens_forbidden_and_what_is_left_made_to_sum_to_one(options):
    model = random_model(**options)
    decoding = model.encode(*batch_of(SENTENCES))
    others = torch.ones(TGT_VOCAB, dtype=torch.bool).scatter(0, LISTED, value=False)

    def forbidding(tokens, state, running):
        log_p, state = model.step(tokens, state, running)
        return log_p.masked_fill(others, -torch.inf).log_softmax(1), state

    limits = Limits(BOS, EOS, (PAD, UNK, BOS), torch.tensor([6, 9, 4]))
    for beam in (1, 4):
        plain = beam_search(forbidding, decoding, limits, beam=beam, alpha=0.6, nbest=beam)
        within = beam_search(model.step_within(LISTED), decoding, limits, beam=beam, alpha=0.6, nbest=beam)
        for expected, found in zip(plain, within, strict=True):
            assert [LISTED[h.tokens].tolist() for h in found] == [h.tokens for h in expected]
            assert [h.score for h in found] == pytest.approx([h.score for h in expected], abs=1e-5)


@torch.inference_mode()
def test_within_a_list_the_product_is_as_wide_as_the_list_and_nothing_is_drawn_at_random():
    model = random_model()
    decoding, before = model.encode(*batch_of(SENTENCES)), torch.get_rng_state()
    with Counting() as counted:
        model.step_within(LISTED)(torch.tensor([2, 2, 2]), decoding, torch.arange(3))
    widths = {shape[1] for name, shape in counted.shapes if name in ("addmm", "linear") and len(shape) == 2}
    assert len(LISTED) in widths
    assert TGT_VOCAB not in widths
    assert torch.get_rng_state().equal(before)


def translators(always):
    """Of the same model: one that searches among all tokens, one within the list of these."""
    model, search = random_model(spread=1), SearchConfig(batch_size=2)
    shortlist = Shortlist(np.array(always, np.int32), np.zeros((SRC_VOCAB, 1), np.int32))
    return Translator(model, tokenizers(), search), Translator(model, tokenizers(), search, shortlist)


LINES = ["w5 w6 w7", "", "w9", "w12 w4 w5 w6"]


@pytest.mark.parametrize("options", [{}, {"beam": 1}, {"beam": 4, "nbest": 3}, {"sampling": Sampling(seed=5)}])
def test_a_list_of_the_whole_vocabulary_changes_nothing(options):
    exact, within = translators(range(TGT_VOCAB))
    assert within.translate(LINES, **options) == exact.translate(LINES, **options)


@pytest.mark.parametrize("options", [{}, {"beam": 4, "nbest": 3}, {"sampling": Sampling(temperature=2.0)}])
def test_translations_hold_listed_tokens_only(options):
    _, within = translators([*SPECIAL, 5, 8])
    for translation in within.translate(LINES, **options):
        assert set(translation.tokens) <= {"w5", "w8", "</s>"}
        assert all(set(other.text.split()) <= {"w5", "w8"} for other in translation.alternatives)


def test_a_look_is_at_the_translation_within_the_list():
    _, within = translators([*SPECIAL, 5, 8])
    for translation, look in zip(within.translate(LINES), within.look(LINES), strict=True):
        assert look.translation.text == translation.text
        assert not look.decoder or look.decoder.rows == translation.tokens


# ------------------------------------------------------------------------------------------------- the run folder


@pytest.fixture
def run(tmp_path):
    return train(load_config(write_config(tmp_path)), tmp_path / "run")


def test_the_shortlist_is_learned_from_the_store_when_it_is_first_asked_for_and_kept(run):
    file = run.path / "shortlist.safetensors"
    assert Translator.load(run.path).engine.shortlist is None
    assert not file.exists()
    learnt = Translator.load(run.path, shortlist=True).engine.shortlist
    words = run.tokenizers().src
    assert learnt.ids([words.encode("the cat")]).tolist() == list(range(len(words)))  # fewer than are always listed
    written = file.stat().st_mtime_ns
    again = Translator.load(run.path, shortlist=True).engine.shortlist
    assert again.always.tolist() == learnt.always.tolist()
    assert again.candidates.tolist() == learnt.candidates.tolist()
    assert file.stat().st_mtime_ns == written
    assert not list(run.path.glob(".shortlist*"))


def test_a_run_learns_the_translations_of_its_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FREQUENT", 0)
    run = train(load_config(write_config(tmp_path), ["training.max_updates=1"]), tmp_path / "run")
    words, learnt = run.tokenizers().src, run.shortlist()
    for src, tgt in WORDS.items():
        assert words.encode(tgt)[0] in learnt.ids([words.encode(src)])


def test_where_the_run_folder_cannot_be_written_the_shortlist_is_used_all_the_same(run, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Shortlist, "save", full)
    assert Translator.load(run.path, shortlist=True).engine.shortlist is not None
    assert "cannot be written, the next search will learn it again: [Errno 30] Read-only file system" in caplog.text
    assert not (run.path / "shortlist.safetensors").exists()


def test_a_run_without_a_store_says_how_to_get_a_shortlist_and_that_works(run):
    shutil.rmtree(run.path / "store")
    with pytest.raises(UserError, match=r"has no shortlist and no store/ to learn it from.*--resume` makes it"):
        Translator.load(run.path, shortlist=True)
    assert main(["train", str(run.path / "config.yaml"), "--run", str(run.path), "--resume"]) == 0
    assert Translator.load(run.path, shortlist=True).engine.shortlist is not None


@pytest.mark.parametrize("damage", ["empty", "no tensors", "without its end", "one bit"])
def test_a_damaged_shortlist_is_named_and_learned_again_where_it_is_deleted(run, damage):
    run.shortlist()
    file = run.path / "shortlist.safetensors"
    whole = file.read_bytes()
    flipped = bytes([*whole[:-40], whole[-40] ^ 128, *whole[-39:]])
    contents = {"empty": b"", "no tensors": b"no tensors", "without its end": whole[:-4], "one bit": flipped}
    file.write_bytes(contents[damage])
    with pytest.raises(UserError, match=r"shortlist\.safetensors: damaged .* delete it"):
        Translator.load(run.path, shortlist=True)
    file.unlink()
    run.shortlist()
    assert file.read_bytes() == whole


def test_the_shortlist_and_the_store_of_another_run_are_not_used(run, tmp_path, caplog):
    ours = run.shortlist()
    file, store = run.path / "shortlist.safetensors", run.path / "store"
    whole = file.read_bytes()
    other = train(
        load_config(write_config(tmp_path), ["training.max_updates=1", "data.max_length=5"]), tmp_path / "two"
    )
    other.shortlist()
    shutil.copy(other.path / file.name, file)
    assert run.shortlist().candidates.tolist() == ours.candidates.tolist()
    assert "not learned from the training text of this run" in caplog.text
    assert file.read_bytes() == whole
    file.unlink()
    shutil.rmtree(store)
    shutil.copytree(other.path / "store", store)
    with pytest.raises(UserError, match=r"store: not made from the training text of this run; delete it"):
        run.shortlist()


def test_the_config_says_whether_to_use_it_and_the_command_line_may_say_otherwise(run, tmp_path, capsys):
    (tmp_path / "lines").write_text("the cat\n")
    shutil.rmtree(run.path / "store")  # then using it is an error
    for in_config in (False, True):
        search = run.config().search.model_copy(update={"shortlist": in_config})
        run.save_config(run.config().model_copy(update={"search": search}))
        for option, used in (([], in_config), (["--shortlist"], True), (["--exact"], False)):
            code = main(["translate", str(run.path), "--input", str(tmp_path / "lines"), *option])
            assert code == (2 if used else 0)
            assert main(["evaluate", str(run.path), *option]) == code
    assert "has no shortlist" in capsys.readouterr().err
