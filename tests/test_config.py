"""The config: what it accepts, what it refuses, and in which words."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from pydantic import ValidationError

from seq2seq.config import Config, SearchConfig, load_config, parse_config, resolve_paths
from seq2seq.config.explaining import FOREIGN_KEYS
from seq2seq.config.keys import SCORE_ALIASES, Section, sections
from seq2seq.errors import UserError, nearest

ROOT = Path(__file__).resolve().parent.parent
MULTI_HEAD, INWARD = "model.attention.score=multi_head", "model.encoder.type=self_attention"
DATA = "data: {train: train, dev: dev, src: en, tgt: de}\n"


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "a.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def load(write):
    """Loads a YAML text, after the lines that every config needs."""
    return lambda text="", *overrides: load_config(write(DATA + text), overrides)


@pytest.fixture
def error(load):
    """The message that a YAML text and overrides give, without the path of its folder; always one line."""

    def error(text="", *overrides):
        with pytest.raises(UserError) as raised:
            load(text, *overrides)
        message = str(raised.value)
        assert "\n" not in message
        return message[message.find("a.yaml") :] if "a.yaml" in message else message

    return error


def test_only_data_must_be_given(load):
    config = load()
    assert (config.seed, config.model.attention.score, config.search.beam) == (1, "general", 5)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_of_the_project_loads(path):
    assert load_config(path).data.src


# ------------------------------------------------------------------------------------------------------------- keys


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_name(error):
    message = error("model:\n  attention:\n    scor: dot\n")
    assert message == "a.yaml:4: model.attention.scor is not a key; did you mean score?"


def test_an_unknown_key_like_no_other_gets_the_list_of_keys(error):
    keys = ", ".join(SearchConfig.model_fields)
    assert error("search: {zzz: 1}").endswith(f"the keys of search are {keys}")


def test_a_key_of_an_earlier_version_is_read_over_where_it_changes_nothing(load, error):
    assert load("training: {r_drop: 0.0, ema: 0.5}").training.ema == 0.5
    assert "training.r_drop is not a key" in error("training: {r_drop: 3}")


def test_a_key_in_the_wrong_section_is_sent_to_the_right_one(error):
    assert error("beam: 4").endswith("beam is not a key; did you mean search.beam?")
    assert "model.encoder.hidden_size or model.decoder.hidden_size" in error("model: {hidden_size: 64}")


@pytest.mark.parametrize(
    ("key", "ours"),
    [
        ("training.epochs", "training.max_updates"),
        ("training.batch_size", "training.batch_tokens"),
        ("model.rnn_size", "model.encoder.hidden_size"),
        ("model.encoder.rnn_type", "model.encoder.cell"),
        ("search.beam_size", "search.beam"),
        ("search.alpha", "search.length_penalty"),
        ("data.src_vocab", "tokenizer.vocab_size"),
        ("data.trg", "data.tgt"),
    ],
)
def test_a_key_of_another_toolkit_is_translated(error, key, ours):
    assert f"{key} is not a key; here it is {ours}" in error("", f"{key}=1")


def test_every_hint_for_a_key_of_another_toolkit_names_keys_that_exist():
    known = {f"{path}.{key}".lstrip(".") for path, section in sections().items() for key in section.model_fields}
    for hint in FOREIGN_KEYS.values():
        assert hint.split()[0].rstrip(",") in known


def test_no_hint_for_a_key_of_another_toolkit_hides_a_nearer_key_of_ours():
    ours = {key for path, section in sections().items() if path != "search" for key in section.model_fields}
    assert not ours & set(FOREIGN_KEYS)


def test_a_doubled_key_is_an_error_with_its_line(error):
    assert error("search:\n  beam: 4\n  beam: 5\n") == "a.yaml:4: the key beam appears twice"
    assert error("data: {}\n") == "a.yaml:2: the key data appears twice"


@pytest.mark.parametrize(("written", "read"), [("010", 8), ("-017", -15), ("1:30", 90), ("1:30.5", 90.5)])
def test_a_number_that_yaml_reads_as_another_is_an_error(error, written, read):
    says = f"a.yaml:3: YAML reads {written} as {read}; write {read}, or what you mean; quote it if it is text"
    assert error(f"training:\n  max_updates: {written}\n") == says


def test_a_merged_mapping_may_be_overruled_and_is_no_doubled_key(load):
    config = load("model:\n  encoder: &rnn {cell: gru, num_layers: 2}\n  decoder: {<<: *rnn, cell: lstm}\n")
    assert (config.model.decoder.cell, config.model.decoder.num_layers) == ("lstm", 2)


def test_a_key_that_is_no_string_is_unknown(error):
    assert error("1: 2").startswith("a.yaml:2: 1 is not a key")


def test_an_unknown_key_is_reported_before_the_missing_key_it_stands_for(write):
    with pytest.raises(UserError, match=r"a.yaml:1: data.trian is not a key; did you mean train\?"):
        load_config(write("data: {trian: a, dev: b, src: en, tgt: de}"))


def test_a_missing_key_is_named(write):
    with pytest.raises(UserError, match=r"a.yaml:1: data.tgt is missing"):
        load_config(write("data: {train: a, dev: b, src: en}"))


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_an_empty_file_lacks_data(write, text):
    with pytest.raises(UserError, match="data is missing"):
        load_config(write(text))


# ----------------------------------------------------------------------------------------------------------- values


def test_a_wrong_choice_names_key_value_choices_and_the_nearest(error):
    message = error("model: {decoder: {cell: lstn}}")
    assert message == ("a.yaml:2: model.decoder.cell is 'lstn'; it must be 'rnn', 'gru' or 'lstm'; did you mean lstm?")


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("search.beam=0", "search.beam is 0; it must be at least 1"),
        ("search.beam=five", "search.beam is 'five'; it must be a whole number"),
        ("search.beam='5'", "search.beam is '5'; it must be a whole number"),
        ("search.beam=2.5", "search.beam is 2.5; it must be a whole number"),
        ("search.beam=true", "search.beam is true; it must be a whole number"),
        ("seed=-1", "seed is -1; it must be at least 0"),
        ("seed=4294967296", "seed is 4294967296; it must be at most 4294967295"),
        ("model.dropout=1", "model.dropout is 1; it must be less than 1"),
        ("training.learning_rate=0", "training.learning_rate is 0; it must be greater than 0"),
        ("training.clip_norm=.inf", "it must be a finite number"),
        ("training.clip_norm=.nan", "it must be a finite number"),
        ("model.encoder.bidirectional=1", "model.encoder.bidirectional is 1; it must be true or false"),
        ("model.attention.coverage=1", "model.attention.coverage is 1; it must be true or false"),
        ("model.attention.window=local", "it must be 'global', 'local_m' or 'local_p'; did you mean local_p?"),
        ("model.attention.temperature=0", "model.attention.temperature is 0; it must be at least 0.01"),
        ("training.device=gpu", "training.device is 'gpu'; it must match"),
        ("data.train=[1]", "data.train is [1]; write a path, or a list such as [{path: data/real, weight: 2}"),
        ("data.train=", "data.train is empty; write a path, or a list"),
        ("data.train=''", "data.train is ''; write a path, or a list"),
        ("model.tie_embeddings=no", "model.tie_embeddings is no, which YAML reads as false; it must be 'none'"),
        ("seed.x=1", "seed is a section; it must be a whole number"),
        ("tokenizer.model=[a, null]", "tokenizer.model.1 is empty; it must be a string"),
        ("tokenizer.model=[a, b, c]", "tokenizer.model is a list; it must have at most 2 items"),
    ],
)
def test_a_wrong_value_names_key_value_and_rule(error, override, rule):
    assert rule in error("", override)


def test_a_section_given_a_scalar_is_told_its_keys(error):
    message = error("search: 5")
    keys = ", ".join(SearchConfig.model_fields)
    assert message == f"a.yaml:2: search is 5; it must be a section with keys of {keys}"
    assert "search is empty" in error("search:\n")


@pytest.mark.parametrize(
    ("written", "read"), [("no", "false"), ("on", "true"), ("~", "null"), ("1e5", "100000.0"), ("0x10", "16")]
)
def test_a_word_that_yaml_takes_for_something_else_must_be_quoted(write, written, read):
    text = "data:\n  train: a\n  dev: b\n  tgt: de\n  src: {}\n"
    with pytest.raises(UserError) as raised:
        load_config(write(text.format(written)))
    reason = f'data.src is {written}, which YAML reads as {read}; it must be a string, so quote it: "{written}"'
    assert str(raised.value).endswith(f"a.yaml:5: {reason}")
    assert load_config(write(text.format(f'"{written}"'))).data.src == written


@pytest.mark.parametrize("number", ["0.001", "1e-3", "1E-3", "1.e-3", "+1.0e-03", ".1e-2", "10.0E-4", "1_0e-4"])
def test_every_way_to_write_a_number_is_read_as_one(load, number):
    assert load(f"training: {{learning_rate: {number}}}").training.learning_rate == pytest.approx(1e-3)
    assert load("", f"training.learning_rate={number}").training.learning_rate == pytest.approx(1e-3)


def test_a_whole_number_will_do_for_a_float(load):
    assert load("", "training.clip_norm=5").training.clip_norm == 5


def test_what_only_looks_like_a_number_is_a_string(load):
    assert load("", "data.test=1e-3x").data.test == "1e-3x"


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:1"])
def test_a_device_may_have_a_number(load, device):
    assert load("", f"training.device={device}").training.device == device


@pytest.mark.parametrize(
    ("name", "canonical"),
    [*SCORE_ALIASES.items(), ("Luong", "general"), ("Multi-Head", "multi_head"), ("SCALED_DOT", "scaled_dot")],
)
def test_an_attention_score_may_be_called_by_its_aliases(load, name, canonical):
    assert load("", f"model.attention.score={name}").model.attention.score == canonical


def test_nearest_ignores_case_and_finds_nothing_far_away():
    assert nearest("LSTN", ["rnn", "lstm"]) == "lstm"
    assert nearest("transformer", ["rnn", "lstm"]) is None


# ----------------------------------------------------------------------------------------------- rules between keys


@pytest.mark.parametrize("score", ["dot", "scaled_dot", "cosine"])
def test_a_score_without_weights_needs_equal_sizes(error, score):
    message = error("", f"model.attention.score={score}", "model.decoder.hidden_size=512")
    assert "model.encoder.hidden_size (256)" in message
    assert "model.decoder.hidden_size (512)" in message
    assert message.endswith("or use the score general")


@pytest.mark.parametrize("score", ["none", "general", "concat", "location", "multi_head"])
def test_a_score_with_weights_allows_different_sizes(load, score):
    load("", f"model.attention.score={score}", "model.decoder.hidden_size=512")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("[char, word, word]", ["tokenizer.type is ['char', 'word', 'word']", "such as [char, word]"]),
        ("[char, wort]", ["tokenizer.type is 'wort'", "did you mean word?"]),
        ("", ["tokenizer.type is empty", "unigram, bpe, char or word"]),
    ],
)
def test_types_of_tokens_are_one_or_two(error, value, named):
    message = error("", f"tokenizer.type={value}")
    assert all(part in message for part in named), message


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["model.tie_embeddings=all", "tokenizer.joint=false"], ["model.tie_embeddings", "tokenizer.joint"]),
        (["model.encoder.hidden_size=255"], ["model.encoder.hidden_size is 255", "even"]),
        (
            [MULTI_HEAD, "model.attention.num_heads=3"],
            ["model.attention.num_heads is 3", "model.decoder.hidden_size (256)"],
        ),
        (["data.tgt=en"], ["data.src and data.tgt are both 'en'"]),
        (["tokenizer.type=word", "tokenizer.sampling=0.1"], ["tokenizer.sampling is 0.1", "set it to 0"]),
        (["tokenizer.type=[bpe, word]", "tokenizer.joint=false", "tokenizer.sampling=0.1"], ["tokenizer.sampling"]),
        (["tokenizer.type=[char, word]"], ["tokenizer.type is [char, word]", "tokenizer.joint false"]),
        (
            ["tokenizer.type=[char, word]", "tokenizer.joint=false", "search.replace_unknown=true"],
            ["search.replace_unknown needs tokenizer.type word; it is [char, word]"],
        ),
        (["search.min_length=9", "search.max_length=9"], ["search.min_length is 9", "search.max_length (9)"]),
        (["search.replace_unknown=true"], ["search.replace_unknown needs tokenizer.type word"]),
        (
            ["search.replace_unknown=true", "tokenizer.type=word", "model.attention.score=none"],
            ["search.replace_unknown needs attention"],
        ),
        (
            ["model.attention.score=none", "training.coverage_loss=1.0"],
            ["training.coverage_loss is 1.0", "model.attention.score none"],
        ),
        *(
            ([key, "model.encoder.num_heads=3"], ["model.encoder.num_heads is 3", "model.encoder.hidden_size (256)"])
            for key in (INWARD, "model.encoder.self_attention_layers=1")
        ),
        ([INWARD, "model.embedding_size=128"], ["model.encoder.hidden_size (256)", "model.embedding_size (128)"]),
        (
            [INWARD, "model.encoder.self_attention_layers=1"],
            ["model.encoder.self_attention_layers is 1", "model.encoder.num_layers"],
        ),
        (
            ["model.attention.coverage=true", "model.attention.convolution=true"],
            ["model.attention.coverage and model.attention.convolution"],
        ),
        *(
            ([f"model.attention.score={score}", f"model.attention.{key}"], [f"score {score} has no {what}", why, fix])
            for score, key, what, why, fix in [
                ("none", "window=local_m", "window local_m", "looks nowhere", "use model.attention.window global"),
                ("location", "window=local_p", "window local_p", "table", "use model.attention.window global"),
                ("none", "coverage=true", "coverage", "looks nowhere", "set model.attention.coverage false"),
                (
                    "location",
                    "coverage=true",
                    "coverage",
                    "does not see the keys",
                    "set model.attention.coverage false",
                ),
                ("cosine", "convolution=true", "convolution", "length", "set model.attention.convolution false"),
            ]
        ),
        *(
            (["model.decoder.type=transformer", *overrides], ["model.decoder.type transformer", *named])
            for overrides, named in [
                ([], ["needs model.attention.score multi_head", "it is general"]),
                (
                    [MULTI_HEAD, "model.attention.coverage=true"],
                    ["has no coverage", "set model.attention.coverage false"],
                ),
                ([MULTI_HEAD, "model.decoder.input_feeding=true"], ["set model.decoder.input_feeding false"]),
                (
                    [MULTI_HEAD, "model.decoder.hidden_size=128"],
                    ["model.decoder.hidden_size (128)", "model.embedding_size (256)"],
                ),
            ]
        ),
        (["model.pretrained_embeddings.src=v"], ["model.pretrained_embeddings", "tokenizer.type word", "unigram"]),
        (
            ["tokenizer.joint=false", "tokenizer.type=[char, word]", "model.pretrained_embeddings.src=v"],
            ["model.pretrained_embeddings needs tokenizer.type word; it is [char, word]"],
        ),
        (
            ["tokenizer.type=word", "model.tie_embeddings=all", "model.pretrained_embeddings={src: v, tgt: w}"],
            ["model.tie_embeddings all", "model.pretrained_embeddings.src", "model.pretrained_embeddings.tgt"],
        ),
    ],
)
def test_keys_that_contradict_each_other_are_both_named(error, overrides, named):
    message = error("", *overrides)
    assert message.startswith("a.yaml: ")
    for part in named:
        assert part in message


def test_each_rule_between_keys_leaves_what_it_does_not_concern_alone(load):
    load("", "model.encoder.hidden_size=255", "model.encoder.bidirectional=false", "model.attention.num_heads=3")
    load("", "tokenizer.joint=false", "tokenizer.type=[char, word]", "model.pretrained_embeddings.tgt=w")
    load("", "tokenizer.joint=false", "tokenizer.type=word", "model.pretrained_embeddings={src: v, tgt: w}")
    load("", "tokenizer.type=word", "model.tie_embeddings=all", "model.pretrained_embeddings={src: v, tgt: v}")


# -------------------------------------------------------------------------------------------------------- overrides


def test_an_override_beats_the_file_and_the_last_override_beats_the_first(load):
    config = load("search: {beam: 2, length_penalty: 0.1}", "search.beam=3", "search.beam=4")
    assert (config.search.beam, config.search.length_penalty) == (4, 0.1)


def test_an_override_may_set_what_the_file_leaves_out_or_set_a_section(load):
    config = load("", "model.encoder={cell: gru}", "model.encoder.num_layers=2", "search.max_length=null")
    assert (config.model.encoder.cell, config.model.encoder.num_layers) == ("gru", 2)


def test_an_override_changes_one_of_two_sections_that_share_an_anchor(load):
    text = "model:\n  encoder: &rnn {hidden_size: 64}\n  decoder: *rnn\n"
    config = load(text, "model.encoder.hidden_size=128")
    assert (config.model.encoder.hidden_size, config.model.decoder.hidden_size) == (128, 64)


def test_an_override_may_hold_an_equals_sign(load):
    assert load("", "data.test=a=b").data.test == "a=b"


def test_an_override_may_mend_the_file(load):
    assert load("search: {beam: 0}", "search.beam=1").search.beam == 1


@pytest.mark.parametrize("override", ["search.beam", "=5", "search..beam=5", ".beam=5", ""])
def test_an_override_that_is_no_key_and_value_says_how_to_write_one(error, override):
    message = error("", override)
    assert message == f"override {override!r}: write section.key=value without spaces, such as search.beam=5"


def test_an_error_in_an_override_says_so(error):
    assert error("", "search.bean=5") == "override: search.bean is not a key; did you mean beam?"
    assert error("", "foo.bar=5").startswith("override: foo is not a key")
    assert error("", "data.src=no").endswith('quote it: "no"')
    assert error("", "search={beam: 1, beam: 2}").endswith("the key beam appears twice")
    assert error("", "search.beam=[1").startswith("override search.beam=[1: ")


# ------------------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("search: {beam: 5\n", 3),
        ("a: b: c\n", 2),
        ("seed:\n\t1\n", 3),
        ("seed: !!python/name:os.system\n", 2),
        ("seed: !!float x\n", 2),
        ("test: 2014-99-99\n", 2),
        ("---\nseed: 1\n", 2),
        ("test: \0\n", 2),
        ("a: &a 1\nb: &a 2\n", 3),
        ("seed: *a\n", 2),
    ],
)
def test_broken_yaml_is_an_error_with_its_line(error, text, line):
    assert error(text).startswith(f"a.yaml:{line}: ")


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("search:\n\tbeam: 1\n", "write spaces instead of tabs"),
        ('search: {beam: "C:\\data"}\n', "put a path in single quotes"),
        ("search:\n  beam:1\n  x: 2\n", "a space after its colon"),
        ("search:\n  beam:1\n", "it must be a section with keys of beam"),
        ("search:\n    beam: 1\n  length_penalty: 1\n", "by equally many spaces"),
        ("---\nseed: 2\n", "delete the line ---"),
        ("seed: !!python/name:os.system\n", "delete the tag"),
        ("search: {beam: 1\nseed: 2\n", "close the braces"),
        ("search: [1, 2}\n", "close the bracket"),
        ('seed: "1\n', "close the quotation mark"),
        ("seed: @x\n", "quote a text that begins with this sign"),
        ("model: {dropout: 0,3}\n", "model.3 is not a key; in braces a comma separates keys: write 0.3 for 0,3"),
        ("model:\n  dropout: 0,3\n", "model.dropout is '0,3'; it must be a number; write 0.3"),
        ("training:\n  max_updates: 10,000\n", "is '10,000'; it must be a whole number; write 10000"),
        ("training:\n  max_updates: 1e4\n", "it must be a whole number; write 10000"),
        ("model.dropout: 0.1\n", "in a section: model: {dropout: ...}"),
        ("model.encoder.cell: gru\n", "in a section: model: {encoder: {cell: ...}}"),
    ],
)
def test_a_slip_in_yaml_gets_its_fix(error, text, fix):
    assert fix in error(text)


def test_a_number_that_is_none_gets_no_fix(error):
    assert error("", "model.dropout=low").endswith("'low'; it must be a number")
    assert error("", "training.max_updates=1.5").endswith("it must be a whole number")


def test_typographic_quotation_marks_around_a_name_are_an_error(error):
    assert "data.src is “en”: YAML takes these marks for letters" in error("", "data.src=“en”")
    assert "data.dev is «x»" in error("", "data.dev=«x»")


def test_a_list_of_corpora_may_hold_plain_paths(load):
    train = load("", "data.train=[a, {path: b, weight: 2}]").data.train
    assert [(corpus.path, corpus.weight) for corpus in train] == [("a", 1), ("b", 2)]


LEVELS = list(zip("abcdefghi", "bcdefghij", strict=True))
BOMBS = {  # texts of under a kilobyte that stand for a billion values, or for one without end
    "values": "a: &a [x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in LEVELS),
    "a key": "? &a [x]\n: 1\n" + "".join(f"? &{b} [{', '.join([f'*{a}'] * 9)}]\n: 1\n" for a, b in LEVELS),
    "merges": "a: &a {x: 1}\n" + "".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in LEVELS),
    "itself": "seed: &a [*a]\n",
    "a merge with itself": "search: &a {<<: *a}\n",
    "brackets": "seed: " + "[" * 5000,
    "a long number": "seed: 1" + ":20" * 5000,
    "a long hexadecimal": "seed: 0x" + "f" * 5000,
    "many values": "seed: [" + "1, " * 5000 + "]",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_text_that_stands_for_too_much_is_an_error_with_its_line(error, bomb):
    message = error(BOMBS[bomb])
    assert re.match(
        "a.yaml:[0-9]+: (more than 2,000 values|[*]a stands inside|nested too deep|'.* is not a valid)", message
    )
    assert len(message) < 200
    if "\n" not in BOMBS[bomb].rstrip():
        message = error("", BOMBS[bomb].replace(": ", "=", 1).rstrip())
        assert message.startswith("override se")
        assert len(message) < 250


def test_a_key_of_many_sections_is_no_key(error):
    assert "write section.key=value" in error("", ".".join("a" * 5000) + "=1")


NUMBERS = [  # every key that is a number, with its schema
    (f"{path}.{name}".lstrip("."), kind)
    for path, section in sections().items()
    for name, key in section.model_json_schema()["properties"].items()
    for kind in key.get("anyOf", [key])
    if kind.get("type") in ("integer", "number")
]


WRONG = [
    "-1",
    "2" + "0" * 15,
    "1e300",
    str(2**64),
    "0x" + "f" * 80,
    ".nan",
    ".inf",
    "-.inf",
    "true",
    "nan",
    "'1'",
    "[1]",
]


@pytest.mark.parametrize(("key", "schema"), NUMBERS, ids=[key for key, _ in NUMBERS])
def test_every_number_has_limits_and_what_is_beyond_them_is_named(error, key, schema):
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    assert 0 <= low < high <= 2**32  # so that no product of two overflows
    for value in WRONG:
        message = error("", f"{key}={value}")
        assert message.startswith(f"override: {key} is ")
        assert len(message) < 300


@pytest.mark.parametrize("text", ["- a\n", "5\n", "words\n"])
def test_a_file_that_is_no_mapping_is_an_error(write, text):
    with pytest.raises(UserError, match="a config is a section of keys"):
        load_config(write(text), ["seed=1"])


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nope\.yaml: No such file"):
        load_config(tmp_path / "nope.yaml")
    with pytest.raises(UserError, match=f"^{tmp_path}: "):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"seed: \xe9")
    with pytest.raises(UserError, match=r"latin\.yaml:1: this is not UTF-8 text; convert it"):
        load_config(tmp_path / "latin.yaml")


def test_a_byte_order_mark_does_no_harm(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + DATA.encode())
    assert load_config(tmp_path / "a.yaml").data.src == "en"


def test_a_dict_is_checked_like_a_file_and_the_error_names_its_origin():
    data = {"train": "a", "dev": "b", "src": "en", "tgt": "de"}
    assert parse_config({"data": data}, "demo").data.train == "a"
    with pytest.raises(UserError, match=r"^demo: search.bean is not a key; did you mean beam\?$"):
        parse_config({"data": data, "search": {"bean": 5}}, "demo")
    with pytest.raises(UserError, match=r"^demo: data.src is false; it must be a string$"):
        parse_config({"data": data | {"src": False}}, "demo")


# -------------------------------------------------------------------------------------------------------- the value


def test_the_yaml_of_a_config_loads_to_an_equal_config(load, write):
    config = load(
        "seed: 7\n",
        "data={train: 1e-3, dev: 'a: b', test: données/é, src: 'no', tgt: '2014-01-01'}".replace("1e-3", "'1e-3'"),
        "training.learning_rate=1e-7",
        "model.attention.score=luong",
        "model.pretrained_embeddings={src: v}",
        "tokenizer.type=word",
    )
    assert load_config(write(config.to_yaml())) == config


def test_the_yaml_of_a_config_has_its_keys_in_the_order_of_the_classes(load):
    lines = load().to_yaml().splitlines()
    assert [line.split(":")[0] for line in lines if line[0] != " "] == list(Config.model_fields)


def test_a_config_does_not_change(load):
    config = load()
    with pytest.raises(ValidationError):
        config.seed = 2
    with pytest.raises(ValidationError):
        config.model.encoder.cell = "gru"


def test_a_config_from_python_may_hold_paths_and_numbers_of_numpy():
    data = {"train": Path("a/train"), "dev": Path("a/dev"), "src": "en", "tgt": "de"}
    training = {"max_updates": np.int64(2), "learning_rate": np.float32(0.5)}
    config = parse_config({"data": data, "training": training}, "config")
    assert (config.data.train, config.training.max_updates, config.training.learning_rate) == ("a/train", 2, 0.5)


def test_resolved_paths_are_absolute_and_nothing_else_changes(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load("", "data.dev=/there/dev", "tokenizer.type=word", "model.pretrained_embeddings.tgt=../v.txt")
    resolved = resolve_paths(config)
    assert (resolved.data.train, resolved.data.dev) == (str(tmp_path / "train"), "/there/dev")
    assert resolved.data.test is None
    assert resolved.model.pretrained_embeddings.src is None
    assert resolved.model.pretrained_embeddings.tgt == str(tmp_path.parent / "v.txt")
    assert resolved.search == config.search
    assert config.data.train == "train"
    assert resolve_paths(resolved) == resolved


def test_resolved_paths_leave_a_config_without_vectors_without_them(load):
    assert resolve_paths(load()).model.pretrained_embeddings is None


# ------------------------------------------------------------------------------------------------- the documentation


@pytest.mark.parametrize("path", [path for path in sections() if path])
def test_every_key_is_explained(path):
    section = sections()[path]
    assert section.__doc__
    for name, field in section.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        is_section = any(isinstance(kind, type) and issubclass(kind, Section) for kind in kinds)
        assert field.description or is_section, f"{path}.{name}"


def test_the_config_docs_are_current():
    command, env = [sys.executable, ROOT / "scripts/make_config_docs.py", "--check"], {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | env)
    assert (done.returncode, done.stderr) == (0, "")
