"""The interactive session: how it greets, its commands, what it shows, and how it ends."""

import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from tiny import write_config

import seq2seq
from seq2seq.commands.main import main
from seq2seq.decoding.explaining import explain
from seq2seq.decoding.translation import Options
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.plots import Screen, terminal_attention
from seq2seq.plots.textbook import textbook_page
from seq2seq.runs.exporting import export_run
from seq2seq.runs.run import Run
from seq2seq.serving import session as module
from seq2seq.serving.session import COMMANDS, Session

CTRL_C, CTRL_D, TAB = "\x03", "\x04", "\t"
TEXT = "the old cat sees the dog"
MEASURES = {name: {"score": score, "signature": ""} for name, score in (("bleu", 12.34), ("chrf", 45.6), ("ter", 1.0))}
SCORES = json.dumps({"sentences": 1, "beam": 1, "length_penalty": 0.0, **MEASURES})


def trained(folder, name, **model):
    sizes = {"embedding_size": 24, "encoder": {"cell": "gru", "hidden_size": 24}}
    sizes |= {"decoder": {"cell": "gru", "hidden_size": 24}}
    training = {"max_updates": 30, "validate_every": 30}
    (folder / name).mkdir()
    config = write_config(folder / name, model=sizes | model, training=training)
    return seq2seq.train(config, run=folder / name / "run")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs by name: two heads, no attention, another direction (never trained)."""
    folder = tmp_path_factory.mktemp("session")
    heads = trained(folder, "heads", attention={"score": "multi_head", "num_heads": 2})
    (folder / "back").mkdir()
    config = (heads.path / "config.yaml").read_text("utf-8")
    (folder / "back/config.yaml").write_text(config.replace("src: en", "src: de").replace("tgt: de", "tgt: en"))
    return {
        "heads": heads,
        "blind": trained(folder, "blind", attention={"score": "none"}),
        "back": Run.open(folder / "back"),
    }


@pytest.fixture(scope="module")
def translators(runs):
    return {name: Translator.load(runs[name].path) for name in ("heads", "blind")}


@pytest.fixture
def start(runs, translators):
    return lambda name="heads", **settings: Session(runs[name], translators[name], **{"options": Options()} | settings)


@pytest.fixture
def talk(runs, translators, tmp_path, monkeypatch, capsys):
    """Type into a session, and return the lines that it prints; without the greeting unless that is asked for."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def talk(typed, *, name="heads", options=None, greeting=False, **settings):
        capsys.readouterr()
        with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
            keys.send_text(typed)
            module.session(runs[name], translators[name], options or Options(), **settings)
        lines = capsys.readouterr().out.splitlines()
        end = 1 + next(i for i, line in enumerate(lines) if line.startswith("Type a sentence"))
        return lines[:end] if greeting else lines[end:]

    return talk


@pytest.fixture
def shouted(translators, monkeypatch):
    """Let the translator write the line in capitals; `interrupt` interrupts it, `strange` is unsure."""
    original = Translator.translate

    def translate(self, texts, **options):
        if texts == ["interrupt"]:
            raise KeyboardInterrupt
        doubt = "repeats itself" if texts == ["strange"] else None
        return [
            replace(each, text=text.upper(), unsure=doubt)
            for each, text in zip(original(self, texts, **options), texts, strict=True)
        ]

    monkeypatch.setattr(Translator, "translate", translate)


# --------------------------------------------------------------------------------------------------------- session


def test_the_greeting_tells_what_the_model_knows_and_gives_three_sentences_of_dev(talk, runs):
    languages, model, *tries, hint = talk(CTRL_D, greeting=True)
    [best] = [record for record in runs["heads"].metrics.records() if "bleu" in record]
    scores = f"BLEU {best['bleu']:.1f}, chrF {best['chrf']:.1f} on the dev set"
    assert languages == f"English to German: 120 training pairs, {scores}"
    assert re.fullmatch(r"rnn encoder, multi_head attention, rnn decoder; [\d,]+ tokens \(word\)", model)
    dev = (runs["heads"].path.parent / "dev.en").read_text("utf-8").splitlines()
    assert len(tries) == 3
    assert {line.removeprefix("try").strip() for line in tries} <= set(dev)
    assert ":help" in hint


def test_the_greeting_warns_of_a_weak_model(talk, monkeypatch):
    monkeypatch.setattr("seq2seq.serving.about.weakness", lambda scores: f"weak: {scores['bleu']:.0f}")
    assert talk(CTRL_D, greeting=True)[2].startswith("weak: ")


def test_an_exported_file_tells_of_its_scores_on_its_card(runs, translators, tmp_path):
    (runs["heads"].path / "test.json").write_text(SCORES, "utf-8")
    export_run(runs["heads"], tmp_path / "a.s2s")
    (runs["heads"].path / "test.json").unlink()
    session = Session(Run.open(tmp_path / "a.s2s"), translators["heads"], Options())
    assert re.search(r"measured +BLEU 12.3, chrF 45.6 on the test set\n", session.respond(":info").text)
    assert session.sentences == []


def test_without_the_data_the_greeting_is_shorter(talk, runs, monkeypatch):
    monkeypatch.setattr("seq2seq.serving.about.stream_pairs", lambda *_: (_ for _ in ()).throw(UserError("gone")))
    monkeypatch.setattr("seq2seq.serving.about.is_folder", lambda _: False)
    monkeypatch.setattr("seq2seq.runs.metrics.Metrics.records", lambda _: [])
    languages, _, _ = talk(CTRL_D, greeting=True)
    assert languages == "English to German"
    assert talk(f":examples\r{CTRL_D}") == ["the dev set of this run cannot be read: there are no examples"]


TALKS = [
    ("a line is translated, and the end of file leaves", f"hello\rgood day\r{CTRL_D}", ["HELLO", "GOOD DAY"]),
    *((f"{word} leaves", f"hello\r{word}\rmore\r", ["HELLO"]) for word in (":quit", "quit", "exit", "QUIT", ":q")),
    ("blank lines do nothing", f"\r   \r{CTRL_D}", []),
    ("Ctrl-C drops the line", f"half a li{CTRL_C}whole\r{CTRL_D}", ["line dropped; Ctrl-D or :quit leaves", "WHOLE"]),
    ("Ctrl-C stops a translation alone", f"interrupt\rhello\r{CTRL_D}", ["stopped; Ctrl-D leaves", "HELLO"]),
    (
        "a mistake does not leave",
        f":head 9\rhello\r{CTRL_D}",
        [":head takes auto, mean, all or a head, 1 to 2, not 9; write :head all", "HELLO"],
    ),
    ("a pasted text is lines", f"\x1b[200~one\ntwo\n\x1b[201~\r{CTRL_D}", ["ONE", "TWO"]),
    ("wide letters, and marks", f"소는 말을 보았다 né\r{CTRL_D}", ["소는 말을 보았다 NÉ"]),
    ("a space makes text of a command", f" :beam 3\r help\r:-)\r1:3\r{CTRL_D}", [" :BEAM 3", " HELP", ":-)", "1:3"]),
    ("quit within a sentence is text", f"I quit\rhelp me\r{CTRL_D}", ["I QUIT", "HELP ME"]),
    ("what is unsure says why", f"strange\r{CTRL_D}", ["unsure (repeats itself): STRANGE"]),
    ("Tab completes a command", f":be{TAB} 7\r{CTRL_D}", ["beam 7, nbest 1"]),
    ("Tab completes a value", f":attention w{TAB}\r:attention off\r{CTRL_D}", ["attention words", "attention off"]),
]


@pytest.mark.parametrize(("typed", "shown"), [case[1:] for case in TALKS], ids=[case[0] for case in TALKS])
def test_what_is_typed_is_answered(talk, shouted, typed, shown):
    assert talk(typed) == shown


@pytest.mark.parametrize("word", [":help", "help", "?", ":?"])
def test_help_lists_every_command(talk, word):
    lines = talk(f"{word}\r{CTRL_D}")
    assert [line.split()[0] for line in lines[:-1]] == list(COMMANDS)
    assert lines[-1].startswith("quit, exit, help and ? are commands too")


def test_the_page_about_the_session_names_every_command():
    page = (Path(__file__).parent.parent / "docs/session.md").read_text(encoding="utf-8")
    assert {name for name in COMMANDS if f"`{name}" not in page} == set()


def test_where_lines_are_words_quit_and_help_are_words_too(talk, shouted, monkeypatch):
    monkeypatch.setattr(module, "read_sources", lambda run: ["cat", "dog", "two words"])
    assert talk("quit\rhelp\r?\r:quit\rmore\r") == ["QUIT", "HELP", "?"]
    assert "quit, exit" not in talk(f":help\r{CTRL_D}")[-1]


def test_the_next_session_remembers_what_was_typed(talk, shouted, tmp_path):
    talk(f"hello\r{CTRL_D}")
    assert "hello" in (tmp_path / "seq2seq" / "history").read_text("utf-8")
    assert talk(f"\x1b[A\r{CTRL_D}") == ["HELLO"]


def test_without_a_writable_home_the_history_is_kept_in_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert isinstance(module._open_history(), FileHistory)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert isinstance(module._open_history(), InMemoryHistory)


def test_a_model_without_attention_says_so_and_translates(talk):
    assert talk(f":attention on\r{CTRL_D}", name="blind") == [module.NO_ATTENTION]
    assert module.NO_ATTENTION in talk(CTRL_D, name="blind", attention=True)
    assert talk(f"{TEXT}\r:html x.html\r{CTRL_D}", name="blind")[1:] == [module.NO_ATTENTION]


# -------------------------------------------------------------------------------------------------------- commands


def test_commands_change_the_options_of_the_translator(start):
    session = start()
    for line, shown, options in (
        (":beam 8", "beam 8, nbest 1", Options(beam=8)),
        (":nbest 10", "beam 10, nbest 10", Options(beam=10, nbest=10)),
        (":beam 2", "beam 2, nbest 2", Options(beam=2, nbest=2)),
        (":alpha 0", "beam 2, nbest 2, alpha 0", Options(beam=2, nbest=2, length_penalty=0.0)),
        (":prefix die ", "beam 2, nbest 2, alpha 0, prefix 'die '", Options(2, 2, 0.0, prefix="die ")),
        (":ban Hund", None, Options(2, 2, 0.0, prefix="die ", ban=("Hund",))),
        (":ban alte Katze", None, Options(2, 2, 0.0, prefix="die ", ban=("Hund", "alte Katze"))),
        (":prefix off", None, Options(2, 2, 0.0, ban=("Hund", "alte Katze"))),
        (":ban off", "beam 2, nbest 2, alpha 0", Options(2, 2, 0.0)),
    ):
        text = session.respond(line).text
        assert shown in (None, text)
        assert session.options == options
    assert "temperature 0.8" in session.respond(":sample 0.8").text
    assert session.options.sampling.temperature == 0.8
    session.respond(":sample off")
    assert session.options == Options(2, 2, 0.0)


REFUSED = [
    *(f":beam{value}" for value in ("", " 0", " -1", " 2.5", " 2 3", " 5000", " ٣x", " 99999999999")),
    *(f":nbest{value}" for value in ("", " x", " 0", " 1001")),
    *(f":alpha{value}" for value in ("", " x", " -1", " 11", " nan")),
    *(f":sample{value}" for value in (" 0", " -1", " hot", " nan")),
    *(f":attention{value}" for value in ("", " yes", " On")),
    *(f":head{value}" for value in ("", " 0", " 3", " mear")),
    *(":explain", ":explain 0", ":explain x", ":html", ":html x.html", ":compare nowhere", ":compare {back}"),
    *(":file", ":file a", ":file a b c", ":file 'a b", ":prefix der", ":nothing", ":bean 3", ":info all", ":quit 3"),
]


@pytest.mark.parametrize("line", REFUSED)
def test_a_wrong_value_is_refused_at_once_in_a_line_and_changes_nothing(start, runs, line):
    session = start()
    with pytest.raises(UserError) as refused:
        session.respond(line.format(back=runs["back"].path))
    assert "\n" not in str(refused.value)
    assert session == start()


def test_the_error_of_an_unknown_command_suggests_the_nearest_one(start):
    with pytest.raises(UserError, match="did you mean :attention"):
        start().respond(":atention on")


@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        (":", list(COMMANDS)),
        (":h", [":help", ":head", ":html"]),
        (":attention ", ["on", "off", "words"]),
        (":attention o", ["on", "off"]),
        (":head m", ["mean"]),
        (":beam ", []),
        ("hello", []),
        (":html pag", ["page.html"]),
        (":file page.html pag", ["page.html page.html"]),
        (":compare o", ["off"]),
    ],
)
def test_tab_completes_commands_values_and_files(tmp_path, monkeypatch, typed, completions):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.html").touch()
    found = module._Completer().get_completions(Document(typed), CompleteEvent())
    lines = [typed[: len(typed) + each.start_position] + each.text for each in found]
    assert [line.removeprefix(typed.split()[0] + " ") for line in lines] == completions


# --------------------------------------------------------------------------------------------------------- answers


def test_the_pipe_gives_the_same_text_for_the_same_request(start, runs, capsys, monkeypatch):
    for commands, options in (
        ([], []),
        ([":beam 2"], ["--beam", "2"]),
        ([":alpha 2"], ["--length-penalty", "2"]),
        ([":prefix die Kat"], ["--prefix", "die Kat"]),
        ([":ban Katze", ":ban der Hund"], ["--ban", "Katze", "--ban", "der Hund"]),
        ([":sample 1.5"], ["--sample", "--temperature", "1.5"]),
        ([":nbest 3"], ["--nbest", "3"]),
    ):
        session = start()
        for command in commands:
            session.respond(command)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{TEXT}\n".encode())))
        capsys.readouterr()
        assert main(["translate", str(runs["heads"].path), *options]) == 0
        piped = [line.split(" ||| ") for line in capsys.readouterr().out.splitlines()]
        shown = [line.strip().split("  ") for line in session.respond(TEXT).text.splitlines()]
        if len(piped) == 1:
            assert shown == piped
        else:
            assert [(text, float(score)) for score, text in shown] == [
                (text, pytest.approx(float(score), abs=1e-3)) for _, text, score in piped
            ]


def test_random_translations_of_a_line_differ(start):
    session = start()
    session.respond(":sample 3")
    assert len({session.respond(TEXT).text for _ in range(5)}) > 1


def test_the_weights_follow_the_translation_in_colors_and_text_stays_harmless(talk, translators, monkeypatch):
    screen = Screen(100, 40, 2**24)
    monkeypatch.setattr(module.Screen, "in_use", lambda: screen)
    (look,) = translators["heads"].look([TEXT])
    for commands, map in (
        (":attention on\r", look.decoder.select("auto")),
        (":attention words\r:head all\r", look.decoder.words()),
        (":attention on\r:head 2\r", look.decoder.select("2")),
    ):
        lines = talk(f"{commands}{TEXT}\r{CTRL_D}")[commands.count("\r") :]
        picture = terminal_attention(map, screen, "`:html FILE`")
        assert "\n".join(lines) == f"{look.translation.text}\n\n{picture}\n"
        assert "\x1b[48;2;" in picture
    monkeypatch.setattr(Session, "translate", lambda *_: replace(look.translation, text="\x1b[31mred"))
    assert talk(f"{TEXT}\r{CTRL_D}") == ["\\x1b[31mred"]


def test_the_last_translation_is_explained_written_as_a_page_and_compared(start, runs, translators, tmp_path):
    session, translator = start(), translators["heads"]
    session.respond(":prefix die ")
    text = session.respond(TEXT).text
    (look,) = translator.look([TEXT], Options(prefix="die "))
    assert look.translation.text == text
    session.respond(":head 2")
    page = textbook_page(explain(translator, TEXT, look.ids, step=2, head=2))
    assert session.respond(":explain 2").text == page

    assert session.respond(f":html {tmp_path / 'a b.html'}").text == str(tmp_path / "a b.html")
    assert text in (tmp_path / "a b.html").read_text("utf-8")
    with pytest.raises(UserError, match="the page is an"):
        session.respond(f":html {tmp_path / 'a.png'}")

    shown = session.respond(f":compare {runs['blind'].path}").text.splitlines()
    (other,) = translators["blind"].translate([TEXT], prefix="die ")
    assert shown == [f"{runs['heads'].path}  {text}", f"{runs['blind'].path}  {other.text}"]
    assert session.respond(TEXT).text.splitlines() == shown
    session.respond(":compare off")
    assert session.respond(TEXT).text == text


def test_examples_and_info_tell_of_the_model(start):
    session = start()
    lines = session.respond(":examples").text.splitlines()
    assert lines[::2] == session.sentences
    assert lines[1].strip() == session.respond(lines[0]).text
    info = dict(re.split(" {2,}", line, maxsplit=1) for line in session.respond(":info").text.splitlines())
    assert {"languages", "vocabulary", "model", "parameters", "learned from", "measured", "run", "settings"} == set(
        info
    )
    assert info["settings"] == "beam 3, nbest 1"


def test_a_file_is_translated_as_the_command_does(start, tmp_path):
    asked = []
    session = start(to_file=lambda *request: asked.append(request))
    session.respond(":beam 2")
    session.respond(f":file {tmp_path}/in.txt '{tmp_path}/the out.txt'")
    assert asked == [(f"{tmp_path}/in.txt", f"{tmp_path}/the out.txt", Options(beam=2))]


def test_on_a_terminal_the_command_is_a_session_that_begins_with_its_options(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "in.txt").write_text(f"{TEXT}\nthe dog\n", encoding="utf-8")
    options = ["translate", str(runs["heads"].path), "--beam", "2", "--prefix", "die ", "--ban", "Katze"]
    assert main([*options, "--input", str(tmp_path / "in.txt")]) == 0
    first, second = capsys.readouterr().out.splitlines()

    # the same, typed and as a file
    with monkeypatch.context() as patched, create_pipe_input() as keys:
        for stream in (sys.stdin, sys.stdout):
            patched.setattr(stream, "isatty", lambda: True, raising=False)
        files = [f":file {tmp_path}/in.txt {tmp_path}/{name}.txt" for name in ("out", "in")]
        keys.send_text("\r".join([TEXT, *files, "quit", ""]))
        with create_app_session(input=keys, output=DummyOutput()):
            assert main(options) == 0
    *_, answer, written, refused = capsys.readouterr().out.splitlines()
    assert answer == first
    assert written == f"translated {tmp_path}/in.txt into {tmp_path}/out.txt"
    assert refused.endswith("is the --input file; give another one")
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == f"{first}\n{second}\n"
