"""`seq2seq check` as a doctor: faults that were planted are found, all of them and nothing else."""

import json
import os
import random
import subprocess
import sys
import tracemalloc
import unicodedata
from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tiny import write_config

from seq2seq.commands.main import main
from seq2seq.data.formats import stream_pairs
from seq2seq.doctor.findings import (
    LISTED,
    SHOWN,
    Part,
    Split,
    diagnose,
    diagnose_tokens,
    report,
)
from seq2seq.text.languages import script_of
from seq2seq.text.tokenizer import UNK, train_tokenizers

ROOT = Path(__file__).parent.parent
EN = ["river", "mountain", "teacher", "garden", "window", "bridge", "market", "kitchen"]
DE = ["Strom", "Gebirge", "Lehrer", "Garten", "Fenster", "Brücke", "Markt", "Küche"]
KO = ["강물", "산맥", "선생님", "정원", "창문", "다리", "시장", "부엌"]


def sentences(begin, end, words=DE):
    """Pairs of which no two are alike: numbers to the base of eight, their digits written as words."""
    first, between = ("거기 ", ", ") if words is KO else ("Da war ", ", da ")
    digits = [[int(digit) for digit in f"{number:05o}"] for number in range(begin, end)]
    return [
        ("We saw a " + ", a ".join(EN[d] for d in line), first + between.join(words[d] for d in line))
        for line in digits
    ]


def split(name, pairs, languages=("en", "de")):
    return Split(name, [Part({language: f"{name}.{language}" for language in languages})], lambda: iter(pairs))


def found(*splits):
    """The lines of each finding."""
    return {(f.kind, f.split, f.side): f.lines for f in diagnose(splits).findings}


def shown(findings, *splits):
    return "\n".join(text for _, text in report(findings, splits))


def plant(pairs, lines, fault):
    """The pairs with a fault in these lines, from 1 on."""
    return [fault(*pair) if number in lines else pair for number, pair in enumerate(pairs, start=1)]


def test_clean_data_is_clean_and_counted():
    splits = [split("train", sentences(0, 400)), split("dev", sentences(400, 440)), split("test", sentences(440, 480))]
    diagnosis = diagnose(splits)
    assert diagnosis.findings == []
    assert diagnosis.counts["train"] == {"pairs": 400, "blank": 0, "different": 400, "sources": 400}
    assert diagnosis.scripts == {"en": {"Latin": 1.0}, "de": {"Latin": 1.0}}
    assert "none" in shown([], *splits)


@pytest.mark.parametrize(
    ("prefix", "languages"), [("", ("en", "de")), ("", ("en", "ko")), ("", ("de", "en")), ("roman.", ("ko", "latin"))]
)
def test_the_toy_corpus_is_clean(prefix, languages):
    rows = {
        name: partial(stream_pairs, ROOT / f"data/toy/{prefix}{name}", *languages) for name in ("train", "dev", "test")
    }
    assert (
        diagnose([Split(name, [Part(dict.fromkeys(languages, name))], read) for name, read in rows.items()]).findings
        == []
    )


@pytest.mark.parametrize("seed", range(5))
def test_repeated_pairs_are_found_with_the_line_that_they_repeat(seed):
    rng = random.Random(seed)
    pairs = sentences(0, 300)
    repeats = {rng.randint(2, 300) for _ in range(rng.randint(1, 30))}
    for line in sorted(repeats):
        pairs[line - 1] = pairs[rng.randrange(line - 1)]
    repeats = [line for line in range(1, 301) if pairs[line - 1] in pairs[: line - 1]]
    (finding,) = diagnose([split("train", pairs)]).findings
    assert (finding.kind, finding.count, finding.of) == ("duplicate", len(repeats), 300)
    assert finding.lines == repeats
    assert finding.twins == [pairs.index(pairs[line - 1]) + 1 for line in repeats]


def test_a_pair_is_the_same_after_normalization_only():
    pairs = sentences(0, 100)
    pairs += [(f"  {pairs[5][0]}\u00a0", unicodedata.normalize("NFD", pairs[5][1])), (pairs[6][0].upper(), pairs[6][1])]
    assert found(split("train", pairs)) == {("duplicate", "train", ""): [101]}


def test_a_syllable_of_known_jamo_is_unseen_only_if_syllables_are_read():
    train, dev = split("train", [("각 나", "a")] * 3), split("dev", [("낙", "a")])
    for decompose, novel in ((False, ["train never has 낙"]), (True, [])):
        assert [f.says for f in diagnose([train, dev], decompose=decompose).findings if f.kind == "novel"] == novel


def test_other_translations_of_a_source_are_counted_and_no_fault():
    pairs = sentences(0, 100)
    pairs += [(src, f"{tgt}, ja") for src, tgt in pairs[:7]]
    diagnosis = diagnose([split("train", pairs)])
    assert diagnosis.findings == []
    assert diagnosis.counts["train"] == {"pairs": 107, "blank": 0, "different": 107, "sources": 100}


def test_overlap_names_the_lines_on_both_sides_and_whole_pairs_first():
    train, dev, test = sentences(0, 200), sentences(200, 230), sentences(230, 260)
    dev[3] = (train[50][0], "Das war es, was wir alle am Garten gesehen haben, und mehr nicht")
    dev[7] = train[20]
    train[10] = (train[20][0], "Das steht weiter oben und ist anders übersetzt, also das falsche")
    test[0] = dev[9]
    test[1] = train[11]
    findings = diagnose([split("train", train), split("dev", dev), split("test", test)]).findings
    says = ", 1 with the same translation"
    assert [(f.split, f.other, f.lines, f.twins, f.says[-len(says) :]) for f in findings] == [
        ("dev", "train", [8, 4], [21, 51], says),
        ("test", "train", [2], [12], says),
        ("test", "dev", [1], [10], says),
    ]
    text = shown(findings, split("train", train), split("dev", dev), split("test", test))
    assert "dev.en:8 = train.en:21  We saw a river, a river" in text
    assert "test.en:1 = dev.en:10" in text


def test_a_blank_side_is_one_fault_and_no_other():
    blank = plant(sentences(0, 100), {3}, lambda src, _: (src, " "))
    blank = plant(blank, {50, 60}, lambda *_: ("", "\t"))
    assert found(split("train", blank), split("dev", [*sentences(200, 220), ("", "")])) == {
        ("blank", "train", ""): [3, 50, 60],
        ("blank", "dev", ""): [21],
    }


@pytest.mark.parametrize("words", [DE, KO])
def test_lost_and_added_text_is_found_from_either_side_but_short_lines_are_left_alone(words):
    pairs = [
        *sentences(0, 300, words),
        *[(src, tgt) for src, tgt in zip(EN, words, strict=True)],
        ("No.", words[1]),
    ]
    pairs = plant(pairs, {17, 200}, lambda src, tgt: (src, tgt[: len(tgt) // 3]))
    pairs = plant(pairs, {40}, lambda src, tgt: (src, f"{tgt}, {tgt}, {tgt}, {tgt}"))
    turned = [(tgt, src) for src, tgt in pairs]
    other = "ko" if words is KO else "de"
    for corpus, languages in ((pairs, ("en", other)), (turned, (other, "en"))):
        (finding,) = diagnose([split("train", corpus, languages)]).findings
        assert finding.kind == "ratio"
        assert sorted(finding.lines) == [17, 40, 200]
    longer = plant(pairs, {99}, lambda src, tgt: (src, " ".join([tgt] * 30)))
    (finding,) = diagnose([split("train", longer, ("en", other))]).findings
    assert finding.lines[0] == 99  # the worst


def test_lengths_are_as_strange_in_either_direction():
    rng = random.Random(5)
    pairs = sentences(0, 301, KO)
    pairs = plant(pairs, rng.sample(range(1, 302), 60), lambda src, tgt: (src, tgt[: rng.randint(1, len(tgt))]))
    turned = [(tgt, src) for src, tgt in pairs]
    there, back = (found(split("train", corpus))["ratio", "train", ""] for corpus in (pairs, turned))
    assert there == back
    assert 10 < len(there) < 50


def test_the_usual_ratio_is_the_median_of_the_training_text():
    pairs = sentences(0, 101)
    ratios = [len(tgt.replace(" ", "")) / len(src.replace(" ", "")) for src, tgt in pairs]
    dev = [(src, f"{tgt} {tgt}") for src, tgt in sentences(300, 320)]
    diagnosis = diagnose([split("train", pairs), split("dev", dev)])
    assert diagnosis.ratio == pytest.approx(np.median(ratios))
    assert [(f.kind, f.split, f.count) for f in diagnosis.findings] == [("ratio", "dev", 20)]


def test_untranslated_sentences_are_found_but_names_and_numbers_may_be_copied():
    pairs = plant(sentences(0, 200), {4, 8}, lambda src, _: (src, src))
    pairs += [
        (same, same) for same in ("Angela Merkel", "internationalization", "2024-01-01 10:00:00 – 12:30:00", "OK.")
    ]
    assert found(split("train", pairs)) == {("copy", "train", ""): [4, 8]}


def test_lines_in_another_script_are_found_but_names_are_not():
    pairs = plant(sentences(0, 200, KO), {9}, lambda src, tgt: (src, "They are all in the garden by the river"))
    pairs = plant(pairs, {30}, lambda src, tgt: ("Они все в саду у реки, там и тут", tgt))
    pairs = plant(
        pairs, {60}, lambda src, tgt: ("我们都在河边的花园里，看着那座很老的桥，还有那边的市场，还有厨房", tgt)
    )
    pairs += [("Seen by NASA", "NASA"), ("Tom sang", "Tom Hanks"), ("Ask Barack Obama", "Barack Obama 에게 물어")]
    pairs += [("Source code: Lib/email/policy.py", "소스 코드: Lib/email/policy.py")]
    lines = found(split("train", pairs, ("en", "ko")))
    assert lines["script", "train", "ko"] == [9]
    assert lines["script", "train", "en"] == [30, 60]


def test_single_words_tell_no_script_to_expect():
    train = split(
        "train", [(f"{src}{number}", f"{tgt}{number}") for number, (src, tgt) in enumerate(zip(EN, DE, strict=True))]
    )
    assert not [kind for kind, *_ in found(train, split("dev", sentences(0, 5))) if kind != "novel"]


def test_a_script_that_many_lines_are_in_is_usual():
    both = plant(sentences(0, 200, KO), range(1, 41), lambda src, tgt: (src, f"Da war {src}"))
    findings = diagnose([split("train", both, ("en", "ko"))])
    assert not [f for f in findings.findings if f.kind == "script"]
    assert findings.scripts["ko"] == pytest.approx({"Hangul": 0.8, "Latin": 0.2})


@pytest.mark.parametrize(
    "broken",
    [
        *("a\x00b", "a\x85b", "a\ufeffb", "\ufffd", "\ud800", "\ufffe"),
        *("Küche".encode().decode("latin-1"), "É".encode().decode("latin-1"), "don’t".encode().decode("cp1252")),
    ],
)
def test_broken_characters_are_found_and_shown(broken):
    pairs = plant(sentences(0, 100), {70}, lambda src, tgt: (src, f"{tgt} {broken}"))
    splits = [split("train", pairs)]
    findings = diagnose(splits).findings
    assert [(f.kind, f.side, f.lines) for f in findings] == [("broken", "de", [70])]
    text = shown(findings, *splits)
    assert text.isprintable() or all(line.isprintable() for line in text.splitlines())
    assert "train.de:70  …" in text


@pytest.mark.parametrize("sound", ["tab\there", "a\u00a0b", "é", "São", "NÃO", "ÂNGELA", "voilâ", "5 €", "☃"])
def test_spaces_accents_and_signs_are_not_broken(sound):
    assert found(split("train", [*sentences(0, 50), (f"We saw a {sound} there", f"Da sah man ein {sound}")])) == {}


def test_findings_do_not_depend_on_how_python_hashes():
    code = """if True:
        from seq2seq.doctor.findings import Part, Split, diagnose
        pairs = [(f"{i * i % 97} and {i % 13}", f"{i * i % 97} und {i % 13}") for i in range(300)]
        files = {"en": "en", "de": "de"}
        dev = [*pairs[9:50], ("äöü", "ß€")]
        print(diagnose([Split("train", [Part(files)], lambda: pairs), Split("dev", [Part(files)], lambda: dev)]))"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert b"overlap" in outputs.pop()


def test_texts_are_read_once_and_once_more_as_far_as_they_are_shown():
    read = Counter()

    def rows(name, pairs):
        for pair in pairs:
            read[name] += 1
            yield pair

    train = plant(sentences(0, 300), {5, 12, 20, 250}, lambda src, _: (src, src))
    languages = {"en": "en", "de": "de"}
    splits = [
        Split("train", [Part(languages)], lambda: rows("train", train)),
        Split("dev", [Part(languages)], lambda: rows("dev", sentences(400, 430))),
    ]
    findings = diagnose(splits).findings
    assert read == {"train": 300, "dev": 30}
    list(report(findings, splits))
    assert read == {"train": 320, "dev": 30}


def test_memory_grows_by_marks_and_not_by_texts():
    def peak(lines):
        def rows():
            return ((f"{number} {'long ' * 400}", f"{number} {'lang ' * 400}") for number in range(lines))

        tracemalloc.start()
        diagnose([Split("train", [Part({"en": "en", "de": "de"})], rows)])
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(1000) - peak(500) < 500 * 200  # bytes, where the texts have 4,000 a pair


def test_a_finding_lists_some_lines_and_counts_all():
    train = split("train", plant(sentences(0, 300), range(1, 201), lambda src, _: (src, "")))
    (finding,) = diagnose([train]).findings
    assert finding.count == 200
    assert finding.lines == list(range(1, LISTED + 1))
    assert finding.as_dict(train)["share"] == pytest.approx(2 / 3)
    assert finding.as_dict(train)["places"][:2] == ["train.en:1", "train.en:2"]
    text = shown([finding], split("train", sentences(0, 300)))
    assert text.count("train.en:") == SHOWN


def test_long_lines_and_unknown_words_are_counted_as_the_tokenizers_see_them():
    lines = sentences(0, 64)
    words = train_tokenizers("word", 11, False, False, "split", [src for src, _ in lines], [tgt for _, tgt in lines])
    dev = split("dev", [*lines[:20], ("We " * 30, "Da"), ("new new new", "neu")])
    encoded = [words.src.encode(src) for src, _ in dev.rows()]
    rates, findings = diagnose_tokens(dev, words, max_length=29)
    assert [f.lines for f in findings if f.kind == "long"] == [[21]]
    assert not [f for f in diagnose_tokens(dev, words, max_length=30)[1] if f.kind == "long"]
    unknown = sum(ids.count(UNK) for ids in encoded)
    assert rates["en"] == pytest.approx(unknown / sum(map(len, encoded)))
    worst = max(range(22), key=lambda line: encoded[line].count(UNK)) + 1
    assert [f.lines[0] for f in findings if (f.kind, f.side) == ("unknown", "en")] == [worst]


def test_a_few_unknown_words_are_no_fault():
    lines = sentences(0, 64)
    words = train_tokenizers("word", 50, False, False, "split", [src for src, _ in lines], [tgt for _, tgt in lines])
    for count, sides in ((1, []), (2, ["en"])):
        text = split("dev", [(f"{'We ' * (100 - count)}{'new ' * count}", "Da war")])
        rates, findings = diagnose_tokens(text, words, max_length=100)
        assert rates == {"en": count / 100, "de": 0}
        assert [finding.side for finding in findings] == sides


def test_subwords_know_all_words():
    lines = [text for pair in sentences(0, 64) for text in pair]
    subwords = train_tokenizers("bpe", 400, True, False, "split", lines, lines)
    _, findings = diagnose_tokens(split("dev", [("new words 새 단어", "neue Wörter ☃")]), subwords, max_length=100)
    assert findings == []


@pytest.mark.parametrize(
    ("text", "script"),
    [
        *[("abcäé", "Latin"), ("ｆｕｌｌ", "Latin"), ("Они", "Cyrillic"), ("강물", "Hangul"), ("αβγ", "Greek")],
        *[("我々", "Han or Kana"), ("ひらカター", "Han or Kana"), ("ｶﾅ", "Han or Kana")],
        *[(" \t.,!?0", ""), ("\u0301", ""), ("½☃\x00", "")],
    ],
)
def test_a_script_is_the_first_word_of_the_names_of_its_letters(text, script):
    assert {script_of(character) for character in text} == {script}


def damaged_config(folder, **sections):
    """The tiny corpus with a pair of train as the first of dev, and a blank last line."""
    config = write_config(folder, **sections)
    for language in ("en", "de"):
        train = (folder / f"train.{language}").read_text(encoding="utf-8").splitlines()
        dev = (folder / f"dev.{language}").read_text(encoding="utf-8").splitlines()
        dev = [train[100], *dev[1:], ""]
        (folder / f"dev.{language}").write_text("\n".join(dev) + "\n", encoding="utf-8")
    return str(config), train[100]


def test_the_command_prints_findings_and_succeeds(tmp_path, capsys):
    config, text = damaged_config(tmp_path)
    assert main(["check", config]) == 0
    out = capsys.readouterr().out
    assert out.index("one step") < out.index("findings")
    assert "dev.en:1 = train.en:101" in out
    assert text in out
    assert "dev.en:13" in out
    assert "unknown     train en 0.0%" in out
    assert out.index("\noverlap ") < out.index("\nblank ")  # the gravest first


def test_json_has_all_numbers_in_one_object(tmp_path, capsys):
    config, _ = damaged_config(tmp_path)
    assert main(["check", config, "--json"]) == 0
    out = capsys.readouterr().out
    data = json.loads(out)
    assert out.count("\n") == 1
    assert data["train"]["pairs"] == 120
    assert data["training"]["kept"] == 120
    assert data["characters"]["scripts"]["de"] == {"Latin": 1.0}
    findings = {(each["kind"], each["split"]): each for each in data["findings"]}
    assert findings["overlap", "dev"]["lines"][0] == 1
    assert findings["overlap", "dev"]["twins"][0] == 101
    assert findings["blank", "dev"]["lines"] == [13]


def test_lines_of_a_table_have_its_name(tmp_path, capsys):
    config, _ = damaged_config(tmp_path)
    for name in ("train", "dev", "test"):
        rows = stream_pairs(tmp_path / name, "en", "de")
        (tmp_path / f"{name}.tsv").write_text("".join(f"{src}\t{tgt}\n" for src, tgt in rows), encoding="utf-8")
        for language in ("en", "de"):
            (tmp_path / f"{name}.{language}").unlink()
    assert main(["check", config, f"data.train={tmp_path / 'train.tsv'}"]) == 0
    assert "dev.tsv:1 = train.tsv:101" in capsys.readouterr().out


def test_what_stops_a_training_is_an_error_before_any_json(tmp_path, capsys):
    config, _ = damaged_config(tmp_path)
    assert main(["check", config, "--json", "data.max_length=1"]) == 2
    assert capsys.readouterr().out == ""


# --------------------------------------------------------------------------------------- text as people bring it


BROUGHT = {  # what is planted in lines 3 and 7 of the target, the finding
    "an entity": ("er &amp; sie", "entity"),
    "a numbered entity": ("das war&#39;s", "entity"),
    "a tag": ('<seg id="3">ja</seg>', "markup"),
    "a unit of TMX": ("<tuv xml:lang='de'><seg>ja", "markup"),
    "a line break of HTML": ("ja<br/>nein", "markup"),
}


@pytest.mark.parametrize("case", BROUGHT)
def test_entities_and_mark_up_are_found(case):
    text, kind = BROUGHT[case]
    pairs = plant(sentences(0, 100), {3, 7}, lambda src, tgt: (src, f"{tgt} {text}"))
    assert found(split("train", pairs)) == {(kind, "train", "de"): [3, 7]}


@pytest.mark.parametrize(
    "text", ["A & B; C", "x < y > z", "R&D", "<2ko> ja", "a <- b -> c", "<3", "Q&A: ja;", '"ja"', '""']
)
def test_signs_that_people_write_are_no_entities_mark_up_or_quotes_of_csv(text):
    pairs = plant(sentences(0, 100), {3}, lambda src, _: (src, text))
    assert not {kind for kind, *_ in found(split("train", pairs))} & {"entity", "markup", "quotes"}


def test_quotation_marks_of_csv_are_found_by_doubled_ones_or_around_most_lines():
    pairs = sentences(0, 100)
    doubled = plant(pairs, {5}, lambda src, tgt: (f'"{src}, ""so"" "', f'"{tgt}"'))
    assert found(split("train", doubled)) == {("quotes", "train", "en"): [5]}
    around = [(src, f'"{tgt}"') for src, tgt in pairs]
    assert found(split("train", around)) == {("quotes", "train", "de"): list(range(1, 101))}


def test_a_first_pair_that_names_languages_or_columns_is_a_suspect():
    for header in (("English", "Deutsch"), ("source_text", "target"), ("en", "Satz"), ("id", "Text")):
        lines = found(split("train", [header, *sentences(0, 100)]), split("dev", [*sentences(200, 220), header]))
        assert lines.get(("header", "train", "")) == [1], header
        assert ("header", "dev", "") not in lines


def test_characters_that_training_never_has_are_named():
    train = [*sentences(0, 100), ("q", "q")]
    dev = plant(sentences(200, 220), {2, 9}, lambda src, tgt: (f"{src} Ж😀", tgt))
    dev = plant(dev, {9}, lambda src, tgt: (f"{src} Ъ", f"{tgt} Q"))
    findings = {f.side: f for f in diagnose([split("train", train), split("dev", dev)]).findings}
    assert findings["en"].lines == [9, 2]  # the most first
    assert sorted(findings["en"].says.removeprefix("train never has ").split()) == sorted("Ж😀Ъ")
    assert findings["de"].lines == [9]
    assert "de" not in {f.side for f in diagnose([split("train", train), split("dev", dev)], lowercase=True).findings}


def test_signs_without_width_are_found_where_the_script_does_not_write_them():
    pairs = plant(sentences(0, 100), {3}, lambda src, tgt: (f"{src} a\u200bb", tgt))
    pairs = plant(pairs, {7}, lambda src, tgt: (src, f"\u202b{tgt}\u202c"))
    assert found(split("train", pairs)) == {("invisible", "train", "en"): [3], ("invisible", "train", "de"): [7]}
    thai = [(f"ฉัน\u200bรัก\u200bเธอ {n}", tgt) for n, (_, tgt) in enumerate(sentences(0, 100))]
    persian = [(f"می\u200cروم {n}", tgt) for n, (_, tgt) in enumerate(sentences(0, 100))]
    for clean in (thai, persian):
        assert "invisible" not in {kind for kind, *_ in found(split("train", clean))}


def test_letters_that_only_look_alike_are_found_but_phones_are_not():
    pairs = plant(sentences(0, 100), {4}, lambda src, tgt: (f"{src} cаt", tgt))  # a Cyrillic letter
    pairs = plant(pairs, {8}, lambda src, tgt: (src, f"{tgt} ΤEST"))  # a Greek one
    assert found(split("train", pairs)) == {("mixed", "train", "en"): [4], ("mixed", "train", "de"): [8]}
    phones = [(src, f"{tgt} aβoθeχi") for src, tgt in sentences(0, 100)]
    assert found(split("train", phones)) == {}


def test_several_signs_for_the_apostrophe_are_counted():
    pairs = [(f"{src} it's", tgt) for src, tgt in sentences(0, 100)]
    assert found(split("train", pairs)) == {}
    pairs = plant(pairs, {2, 5}, lambda src, tgt: (src.replace("'", "’"), tgt))
    diagnosis = diagnose([split("train", pairs)])
    (finding,) = diagnosis.findings
    assert (finding.kind, finding.side, finding.lines) == ("apostrophe", "en", [2, 5])
    assert finding.says == "several signs for the apostrophe: ' in 98, ’ in 2 lines"


@pytest.mark.parametrize("sign", ["; ", "|", " / "])
def test_several_translations_in_a_line_are_found_unless_the_source_has_the_sign_too(sign):
    pairs = sentences(0, 100)
    several = plant(pairs, set(range(1, 40)), lambda src, tgt: (src, f"{tgt}{sign}{tgt}"))
    assert found(split("train", several))["choices", "train", "de"] == list(range(1, 40))
    both = plant(pairs, set(range(1, 40)), lambda src, tgt: (f"{src}{sign}{src}", f"{tgt}{sign}{tgt}"))
    assert found(split("train", both)) == {}
    entities = plant(pairs, set(range(1, 40)), lambda src, tgt: (src, f"{tgt} l&apos;eau"))
    assert ("choices", "train", "de") not in found(split("train", entities))


def test_a_split_that_is_tokenized_otherwise_is_found():
    tokenized = [(f"{src} .", tgt) for src, tgt in sentences(0, 100)]
    raw = [(f"{src}.", tgt) for src, tgt in sentences(200, 220)]
    for train, dev in (
        (tokenized, raw),
        ([(s.replace(" .", "."), t) for s, t in tokenized], [(s.replace(".", " ."), t) for s, t in raw]),
    ):
        assert found(split("train", train), split("dev", dev)) == {("spaced", "dev", "en"): list(range(1, 21))}
        assert found(split("train", train)) == {}


def test_escapes_pieces_and_placeholders_are_found():
    pairs = plant(sentences(0, 100), {3}, lambda src, tgt: (f"{src} caf\\u00e9", tgt))
    pairs = plant(pairs, {5}, lambda src, tgt: (src, f"{tgt}.\\nDer Strom"))
    pairs = plant(pairs, {7}, lambda src, tgt: (f"{src} \\nu \\textbf", tgt))  # TeX
    assert found(split("train", pairs)) == {("escape", "train", "en"): [3], ("escape", "train", "de"): [5]}
    cut = [(src.replace("saw", "sa@@ w"), f"▁{tgt}".replace(" ", "▁")) for src, tgt in sentences(0, 100)]
    assert {("cut", "train", "en"), ("cut", "train", "de")} <= set(found(split("train", cut)))
    numbered = [(f"{n}. {src}", tgt) for n, (src, tgt) in enumerate(sentences(0, 100))]
    assert ("numbered", "train", "en") in found(split("train", numbered))
    none = plant(sentences(0, 100), set(range(1, 31)), lambda src, tgt: (src, "NULL"))
    assert found(split("train", none))["placeholder", "train", ""] == list(range(1, 31))
    labels = [(src, "AB"[n % 2]) for n, (src, _) in enumerate(sentences(0, 100))]
    assert "placeholder" not in {kind for kind, *_ in found(split("train", labels))}


def test_exchanged_columns_are_found_by_the_script_of_the_language_or_of_the_training_text():
    korean = sentences(0, 100, KO)
    turned = [(tgt, src) for src, tgt in korean]
    both = {("columns", "train", "en"), ("columns", "train", "ko")}
    assert set(found(split("train", turned, ("en", "ko")))) == both
    assert found(split("train", korean, ("en", "ko"))) == {}
    lines = found(
        split("train", korean, ("a", "b")), split("dev", [(t, s) for s, t in sentences(200, 220, KO)], ("a", "b"))
    )
    assert {key for key in lines if key[0] == "columns"} == {("columns", "dev", "a"), ("columns", "dev", "b")}
    numbers = [(src, str(n / 100)) for n, (src, _) in enumerate(korean)]
    assert ("columns", "train", "de") in found(split("train", numbers))


def test_where_most_targets_equal_their_source_that_is_the_task_and_nothing_is_to_be_deleted():
    corrected = plant(sentences(0, 100), range(1, 81), lambda src, _: (src, src))
    (finding,) = diagnose([split("train", corrected)]).findings
    assert (finding.kind, finding.count) == ("task", 80)
    assert "keep these lines" in finding.advice


@pytest.mark.parametrize(
    "pairs",
    [
        sentences(0, 100) * 4,
        plant(sentences(0, 100), range(1, 70), lambda src, _: (src, "")),
        plant(sentences(0, 100, KO), range(1, 70), lambda src, _: (src, "Они все в саду у реки, там и тут")),
        plant(sentences(0, 100), range(1, 70), lambda src, _: (src, src)),
    ],
    ids=["repeated", "blank", "script", "copied"],
)
def test_nobody_is_told_to_delete_most_of_a_corpus(pairs):
    for splits in ([split("train", pairs)], [split("train", sentences(0, 100)), split("dev", pairs)]):
        for finding in diagnose(splits).findings:
            if finding.count > finding.of / 2:
                assert "delete them" not in finding.advice
                assert "delete these" not in finding.advice


def test_lines_are_counted_with_the_header(tmp_path, capsys):
    config, _ = damaged_config(tmp_path)
    rows = list(stream_pairs(tmp_path / "dev", "en", "de"))
    (tmp_path / "head.tsv").write_text("English\tGerman\n" + "".join(f"{s}\t{t}\n" for s, t in rows), encoding="utf-8")
    assert main(["check", config, f"data.dev={tmp_path / 'head.tsv'}"]) == 0
    out = capsys.readouterr().out
    assert "head.tsv:2 = train.en:101" in out
    assert "head.tsv:1 is a header, no pair: 'English' and 'German'; en is column 1, de is column 2" in out


def test_comments_among_the_pairs_are_found_but_headings_on_both_sides_are_none():
    pairs = sentences(0, 40)
    pairs[3], pairs[7] = ("# the next words are rare", "Da war ein Strom"), ("# Rivers", "# Ströme")
    assert found(split("train", pairs))["comment", "train", ""] == [4]


@pytest.mark.parametrize("signs", ["//", "[]"])
def test_pronunciations_between_signs_are_found_where_all_have_them(signs):
    def pairs(share):
        enclosed = [(src, f"{signs[0]}{tgt}{signs[1]}") for src, tgt in sentences(0, share)]
        return enclosed + sentences(share, 40)

    assert found(split("train", pairs(40)))["enclosed", "train", "de"] == [*range(1, 41)]
    assert ("enclosed", "train", "de") not in found(split("train", pairs(10)))


def test_sources_with_several_targets_are_found_where_there_are_many():
    pairs = sentences(0, 40)
    assert not found(split("train", [*pairs, (pairs[0][0], pairs[1][1])]))
    twice = pairs + [(src, tgt) for (src, _), (_, tgt) in pairwise(pairs[:11])]
    assert found(split("train", twice))["several", "train", ""] == [*range(41, 51)]


def test_exchanged_columns_of_words_are_found_by_the_script_of_the_language():
    words = [("река", "rɛka"), ("град", "grat"), ("маса", "masa"), ("вода", "vɔda")] * 5
    exchanged = [(tgt, src) for src, tgt in words]
    kinds = {(f.kind, f.side) for f in diagnose([split("train", exchanged, ("bg", "ipa"))]).findings}
    assert ("columns", "bg") in kinds
    kinds = {f.kind for f in diagnose([split("train", words, ("bg", "ipa"))]).findings}
    assert "columns" not in kinds
