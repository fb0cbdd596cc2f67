"""The commands `attention`, `align` and `plot --attention`, run as a user runs them."""

import io
import json
import re
import sys

import numpy as np
import pytest
from tiny import write_config

import seq2seq
from seq2seq.commands.main import main
from seq2seq.decoding.attention_map import AttentionMap
from seq2seq.decoding.engine import Engine
from seq2seq.decoding.forced import look_at_pairs
from seq2seq.decoding.translator import Translator
from seq2seq.plots import Screen, terminal_attention
from seq2seq.runs.run import Run

TEXT = "the old cat sees the dog"
TINY = {"embedding_size": 24, "dropout": 0.1, "decoder": {"cell": "gru", "hidden_size": 24}}
TRAINING = {"max_updates": 20, "validate_every": 10, "keep": 3}


def train(folder, name, tokenizer="char", **model):
    tokenizers = {"char": {"type": "char", "vocab_size": 300}, "word": {"type": "word", "vocab_size": 50}}
    encoder = {"cell": "gru", "hidden_size": 24, **model.pop("encoder", {})}
    sections = {"model": {**TINY, "encoder": encoder, **model}, "training": TRAINING}
    config = write_config(folder, tokenizer=tokenizers[tokenizer], **sections)
    seq2seq.train(config, run=folder / name)
    return str(folder / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli_attention")


@pytest.fixture(scope="module")
def run(folder):
    """Two heads of decoder attention, two of self-attention, in letters."""
    attention = {"score": "multi_head", "num_heads": 2}
    return train(folder, "heads", attention=attention, encoder={"self_attention_layers": 1, "num_heads": 2})


@pytest.fixture(scope="module")
def plain(folder):
    """One head, no self-attention, words."""
    return train(folder, "plain", "word")


@pytest.fixture(scope="module")
def blind(folder):
    """No attention at all."""
    return train(folder, "blind", "word", attention={"score": "none"})


@pytest.fixture(scope="module")
def inward(folder):
    """Self-attention in the encoder alone."""
    encoder = {"self_attention_layers": 1, "num_heads": 2}
    return train(folder, "inward", "word", attention={"score": "none"}, encoder=encoder)


@pytest.fixture(scope="module")
def three_lines(folder):
    """A file of three lines, the second of them empty."""
    (folder / "in.txt").write_text(f"{TEXT}\n\nthe dog\n", encoding="utf-8")
    return str(folder / "in.txt")


@pytest.fixture
def say(run, capsys):
    """What the command prints about a text."""

    def command(*arguments, text=(TEXT,), of=run):
        capsys.readouterr()
        assert main(["attention", of, *text, *arguments]) == 0
        return capsys.readouterr().out

    return command


def test_the_terminal_shows_the_translation_and_then_the_mean_of_the_heads(say, run):
    (look,) = Translator.load(run).look([TEXT])
    picture = terminal_attention(look.decoder.mean(), Screen(80))
    assert say("--head", "mean") == f"{look.translation.text}\n\n{picture}\n"


def test_what_the_mean_hides_is_drawn_beside_it_unless_heads_are_chosen(say, monkeypatch):
    monkeypatch.setattr(AttentionMap, "mean_and_hidden", lambda map: map.head(1))
    assert say() == say("--head", "2")
    assert json.loads(say("--json"))["heads"] == ["mean of all heads"]


def test_all_heads_stand_under_their_names_and_one_head_alone(say):
    everything = say("--head", "all")
    assert re.findall("^head .*$", everything, re.MULTILINE) == ["head 1", "head 2"]
    second = everything.split("head 2\n\n")[1]
    assert say("--head", "2").endswith(f"\n\n{second}")


def test_json_holds_rows_columns_heads_and_weights(say, run):
    (look,) = Translator.load(run).look([TEXT])
    told = json.loads(say("--json", "--head", "all"))
    assert list(told) == ["translation", "rows", "columns", "heads", "weights"]
    assert told["translation"] == look.translation.text
    assert (told["rows"], told["columns"]) == (look.decoder.rows, look.decoder.columns)
    assert told["heads"] == ["head 1", "head 2"]
    assert np.array(told["weights"]) == pytest.approx(look.decoder.weights, abs=1e-5)


def test_json_of_words_has_the_words_of_the_text(say):
    told = json.loads(say("--json", "--words"))
    assert told["columns"] == [*TEXT.split(), "</s>"]
    assert np.shape(told["weights"]) == (1, len(told["rows"]), 7)


def test_the_encoder_looks_from_the_source_to_the_source(say):
    told = json.loads(say("--json", "--encoder", "--words", "--head", "all"))
    assert told["rows"] == told["columns"] == [*TEXT.split(), "</s>"]
    assert told["heads"] == ["head 1", "head 2"]


def test_the_sentences_of_a_file_are_shown_one_after_another(say, three_lines):
    first, third = say(), say(text=["the dog"])
    assert say("--input", three_lines, text=()) == f"{first}\n\n\n{third}\n"
    told = [json.loads(line) for line in say("--input", three_lines, "--json", "--words", text=()).splitlines()]
    assert told[1] is None
    assert told[2]["columns"] == ["the", "dog", "</s>"]


@pytest.mark.parametrize(("name", "options"), [("text.txt", []), ("weights", ["--json"])])
def test_text_and_json_go_to_a_file_too(say, folder, name, options):
    assert say(*options, "--output", str(folder / name)) == ""
    assert (folder / name).read_text(encoding="utf-8") == say(*options)


# ---------------------------------------------------------------------------------------------------------- alignments


def test_alignments_are_the_links_of_each_line_in_order(run, three_lines, capsys):
    first, _, third = Translator.load(run).look([TEXT, "", "the dog"])
    assert main(["align", run, "--input", three_lines]) == 0
    assert capsys.readouterr().out == f"{first.decoder.pharaoh()}\n\n{third.decoder.pharaoh()}\n"


def test_alignments_may_be_those_of_one_head(run, three_lines, capsys):
    first, *_ = Translator.load(run).look([TEXT])
    assert main(["align", run, "--input", three_lines, "--head", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == first.decoder.head(1).pharaoh()


def test_given_pairs_are_aligned_by_word_or_by_token(plain, run, folder, capsys):
    (folder / "pairs.tsv").write_text("the cat\tdie Katze\n\t\nthe dog\tHund\n", encoding="utf-8")
    translator = Translator.load(run)
    looks = look_at_pairs(translator, ["the cat", "", "the dog"], ["die Katze", "", "Hund"])
    for by in ("word", "token"):
        assert main(["align", run, "--data", str(folder / "pairs.tsv"), "--by", by]) == 0
        expected = [look.decoder.pharaoh(by) if look.decoder else "" for look in looks]
        assert capsys.readouterr().out.splitlines() == expected


def test_links_of_spelled_words_come_with_a_hint(run, folder, capsys):
    (folder / "words.tsv").write_text("cat\tKatze\nthe dog\tder Hund\n", encoding="utf-8")
    aligning = ["align", run, "--data", str(folder / "words.tsv")]
    assert main(aligning) == 0
    assert "1 line has one word, spelled in letters: --by token links the letters" in capsys.readouterr().err
    assert main([*aligning, "--by", "word"]) == 0
    assert "spelled" not in capsys.readouterr().err


def test_given_pairs_are_columns_of_a_table_which_is_never_overwritten(plain, folder, capsys):
    (folder / "pairs.tsv").write_text("the cat\tdie Katze\n", encoding="utf-8")
    (folder / "table.tsv").write_text("x\ty\tz\n1\tdie Katze\tthe cat\n", encoding="utf-8")
    chosen = ["align", plain, "--data", str(folder / "table.tsv"), "--columns", "z,y"]
    links = [
        (main(words), capsys.readouterr().out)
        for words in (["align", plain, "--data", str(folder / "pairs.tsv")], chosen)
    ]
    assert links[0] == links[1]
    assert main([*chosen, "--output", str(folder / "table.tsv")]) == 2
    assert "is the --data file" in capsys.readouterr().err


def test_the_attention_of_a_given_pair_is_shown(plain, capsys):
    assert main(["attention", plain, "--src", "the cat", "--tgt", "Hund die die", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["rows"], shown["columns"]) == (["Hund", "die", "die", "</s>"], ["the", "cat", "</s>"])
    assert np.array(shown["weights"]).shape == (1, 4, 3)


def test_alignments_go_through_a_pipe_and_into_a_file(run, folder, three_lines, capsys, monkeypatch):
    assert main(["align", run, "--input", three_lines]) == 0
    links = capsys.readouterr().out
    with open(three_lines, encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read().encode())))
    assert main(["align", run, "--output", str(folder / "links")]) == 0
    assert capsys.readouterr().out == ""
    assert (folder / "links").read_text(encoding="utf-8") == links


# -------------------------------------------------------------------------------------------------- pictures and pages


@pytest.mark.parametrize("options", [[], ["--head", "all"], ["--head", "2", "--words"], ["--encoder", "--head", "all"]])
@pytest.mark.parametrize("name", ["a.png", "a.svg"])
def test_a_picture_is_drawn_and_the_translation_printed(say, folder, name, options):
    assert say("--output", str(folder / name), *options) == say().splitlines()[0] + "\n"
    assert (folder / name).stat().st_size > 1000


def page_of(path):
    """A page, and the data in it."""
    page = path.read_text(encoding="utf-8")
    return page, json.loads(re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)[0])


def test_the_page_holds_all_heads_words_and_tokens_of_decoder_and_encoder(say, folder):
    say("--output", str(folder / "a.html"))
    page, views = page_of(folder / "a.html")
    assert [list(view["maps"]) for view in views] == [["words", "tokens"]] * 2
    assert {len(view["maps"]["words"]["heads"]) for view in views} == {3}
    assert TEXT in page


def test_letters_that_the_model_never_saw_are_looked_at_like_others(say, plain):
    assert "🙂" in say("--words", text=["the 🙂 cat ж"])
    assert "</s>" in say(text=["the 🙂 cat ж"], of=plain)


def test_the_checkpoints_of_a_sentence_are_heads_of_one_picture_in_order(run, folder, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr("seq2seq.plots.save_attention", lambda path, map, in_a_row: drawn.append((path, map)))
    assert main(["plot", run, "--attention", TEXT]) == 0
    [(path, map)] = drawn
    assert path == Run.open(run).path / "attention.png"
    best = Run.open(run).checkpoints.named("best").name
    assert map.heads == [f"update {n}{', best' if best == f'step-{n:06d}' else ''}" for n in (10, 20)]
    translator = Translator.load(run)
    (look,) = translator.look([TEXT])
    shown = map.head([", best" in name for name in map.heads].index(True))
    assert shown.weights == pytest.approx(look.decoder.mean().weights, abs=1e-5)


def test_the_checkpoints_are_given_the_very_tokens_that_the_search_found(run, monkeypatch):
    """Text may be cut into other tokens than those it was made of."""
    search, drawn = Engine._search_batch, []
    monkeypatch.setattr("seq2seq.plots.save_attention", lambda path, map, in_a_row: drawn.append(map))
    letters = Translator.load(run).tokenizers.tgt.encode("die")
    apart = [letters[0], *letters]  # the mark of a space twice: a text has it once

    def found(self, *arguments):
        return [[hypothesis._replace(tokens=apart) for hypothesis in best] for best in search(self, *arguments)]

    monkeypatch.setattr(Engine, "_search_batch", found)
    assert main(["plot", run, "--attention", TEXT]) == 0
    assert drawn[0].rows == ["▁", "▁", "d", "i", "e", "</s>"]


@pytest.mark.parametrize("text", ["the old cat " * 100, "qqq zzz"], ids=["of 300 words", "of unknown words"])
def test_a_text_is_drawn_however_long_or_strange_it_is(say, plain, folder, capsys, text):
    assert main(["plot", plain, "--attention", text, "--output", str(folder / "over_time.svg")]) == 0
    say("--output", str(folder / "strange.html"), text=[text], of=plain)
    _, (view,) = page_of(folder / "strange.html")
    assert len(view["maps"]["words"]["columns"]) == len(text.split()) + 1


def test_self_attention_is_shown_of_a_model_without_attention(say, inward, folder):
    told = json.loads(say("--encoder", "--head", "all", "--json", of=inward))
    assert (told["rows"], told["heads"]) == ([*TEXT.split(), "</s>"], ["head 1", "head 2"])
    say("--output", str(folder / "inward.html"), of=inward)
    assert [view["rows"] for view in page_of(folder / "inward.html")[1]] == ["source (queries)"]


@pytest.mark.parametrize("command", [["attention", "--json"], ["align"]], ids=" ".join)
@pytest.mark.parametrize(("model", "options"), [("plain", ["--head", "9"]), ("plain", ["--beam", "0"]), ("blind", [])])
def test_a_mistake_leaves_the_output_file_as_it_was_with_an_empty_input_too(folder, command, model, options, request):
    source, output = folder / "lines.txt", folder / "kept.txt"
    source.write_text("")
    output.write_text("kept\n")
    name, *json_option = command
    files = ["--input", str(source), "--output", str(output)]
    assert main([name, request.getfixturevalue(model), *json_option, *files, *options]) == 2
    assert output.read_text() == "kept\n"


@pytest.mark.parametrize("options", [[], ["--words"]])
def test_plot_draws_the_attention_of_a_sentence_into_the_run(run, capsys, options):
    assert main(["plot", run, "--attention", TEXT, *options]) == 0
    picture = Run.open(run).path / "attention.png"
    assert capsys.readouterr().out == f"{picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("source", [[], ["a", "--input", "file"]])
def test_attention_needs_a_text_or_a_file_and_not_both(run, source, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["attention", run, *source])
    assert "TEXT" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["attention", "{run}", " "], "TEXT is empty"),
        (["attention", "{run}", " ", "--output", "{out}.html"], "TEXT is empty"),
        (["attention", "{run}", " ", "--encoder"], "TEXT is empty"),
        (["attention", "{run}", "--input", "{file}", "--output", "{out}.png"], "shows one TEXT"),
        (["attention", "{run}", "--input", "nowhere"], "nowhere: cannot be read: No such file"),
        (["attention", "{run}", "--input", ""], "cannot be read: No such file"),
        (["attention", "{run}", "--input", "{file}", "--output", "{file}"], "is the --input file"),
        (["attention", "{run}", "a", "--output", "a.gif"], "a.gif: write a .png, .svg, .html or .txt file"),
        (["attention", "{run}", "a", "--output", "a.png", "--json"], "leave --json and --input out"),
        (["attention", "{run}", "a", "--output", "/nowhere/a.html"], "/nowhere/a.html: No such file"),
        (["attention", "{run}", "a", "--head", "0"], "--head 0: write mean, all or the number of a head"),
        (["attention", "{run}", "a", "--head", "two"], "--head two: write mean, all or the number of a head"),
        (["attention", "{run}", "a", "--head", "3"], "here 1 to 2"),
        (["attention", "{run}", "a", "--beam", "0"], "beam is 0"),
        (["attention", "{run}", "a", "--beam", "100000"], "beam is 100000"),
        (["attention", "{plain}", "a", "--encoder"], "model.encoder.self_attention_layers=1"),
        (["attention", "{blind}", "a"], "no attention"),
        (["attention", "{blind}", "a", "--output", "{out}.html"], "no attention"),
        (["attention", "{blind}", "a", "--encoder"], "no self-attention"),
        (["attention", "{inward}", "a"], "no attention (model.attention.score is none); add --encoder"),
        (["attention", "{run}", "a\udcff"], "TEXT is not UTF-8: a\\udcff"),
        (["align", "{run}", "--input", "{file}", "--head", "all"], "--head all: write mean or the number of a head"),
        (["align", "{run}", "--input", "{file}", "--output", "{file}"], "is the --input file"),
        (["align", "{blind}", "--input", "{file}"], "no attention"),
        (["align", "{run}", "--input", "{file}", "--data", "{file}"], "leave --input and --beam out"),
        (["attention", "{run}", "--src", "the"], "--src and --tgt go together"),
        (["attention", "{run}", "the", "--tgt", "die"], "--src and --tgt go together"),
        (["attention", "{run}", "--src", "the", "--tgt", " "], "--src or --tgt is empty"),
        (["plot", "{run}", "--attention", "a\udcff"], "--attention is not UTF-8: a\\udcff"),
        (["plot", "{run}", "--words"], "--words is for --attention TEXT"),
        (["plot", "{run}", "--attention", ""], "text is empty"),
        (["plot", "{run}", "--attention", "a", "--output", "a.gif"], ".png or .svg"),
        (["plot", "{blind}", "--attention", "a"], "no attention"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(run, plain, blind, inward, folder, capsys, arguments, message):
    (folder / "file.txt").write_text("the cat\n")
    names = {"run": run, "plain": plain, "blind": blind, "inward": inward}
    names |= {"file": str(folder / "file.txt"), "out": str(folder / "out")}
    capsys.readouterr()
    assert main([argument.format(**names) for argument in arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
