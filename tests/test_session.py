"""The interactive session: its commands, what it shows, and how it ends."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from seq2seq.decoding.translation import Alternative, Translation
from seq2seq.errors import UserError
from seq2seq.serving import session as module
from seq2seq.serving.session import Settings, answer, execute, is_command

CTRL_C, CTRL_D, TAB = "\x03", "\x04", "\t"


class FakeTranslator:
    """A translator into upper case; it records how it was called."""

    def __init__(self, search_beam=5, decoder_heads=("attention",)):
        self.search = SimpleNamespace(beam=search_beam)
        self.decoder_heads = decoder_heads
        self.asked = []

    def translate(self, texts, *, beam, nbest, attention):
        self.asked.append((texts[0], beam, nbest, attention))
        if texts == ["interrupt"]:
            raise KeyboardInterrupt
        others = [Alternative(f"OTHER {i}", -8.0 * i, -2.0 * i) for i in range(1, nbest)]
        weights = [[0.9, 0.1], [0.1, 0.9]] if attention else None
        text = texts[0].upper()
        return [Translation(text, -4.0, -1.0, [text, "</s>"], [texts[0], "</s>"], others, weights)]


@pytest.fixture
def talk(tmp_path, monkeypatch, capsys):
    """Type into a session, and return the lines that it prints after the greeting."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def talk(typed, *, translator=None, beam=None, nbest=1, attention=False):
        with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
            keys.send_text(typed)
            module.session(translator or FakeTranslator(), beam=beam, nbest=nbest, attention=attention)
        _greeting, *lines = capsys.readouterr().out.splitlines()
        return lines

    return talk


# --------------------------------------------------------------------------------------------------------- session


def test_a_line_is_translated_and_the_end_of_file_leaves(talk):
    assert talk(f"hello\rgood day\r{CTRL_D}") == ["HELLO", "GOOD DAY"]


def test_quit_leaves_and_nothing_after_it_is_read(talk):
    assert talk("hello\r:quit\rmore\r") == ["HELLO"]


def test_blank_lines_do_nothing(talk):
    translator = FakeTranslator()
    assert talk(f"\r   \r{CTRL_D}", translator=translator) == []
    assert translator.asked == []


def test_control_c_drops_the_line_and_says_how_to_leave(talk):
    dropped, *rest = talk(f"half a li{CTRL_C}whole\r{CTRL_D}")
    assert ":quit" in dropped
    assert rest == ["WHOLE"]


def test_control_c_during_a_translation_stops_only_the_translation(talk):
    stopped, after = talk(f"interrupt\rhello\r{CTRL_D}")
    assert "stopped" in stopped
    assert after == "HELLO"


def test_a_mistaken_command_is_one_line_and_the_session_goes_on(talk):
    lines = talk(f":bean 3\r:beam many\rhello\r{CTRL_D}")
    assert len(lines) == 3
    assert lines[-1] == "HELLO"


def test_commands_change_how_the_next_lines_are_translated(talk):
    translator = FakeTranslator()
    talk(f"a\r:beam 8\r:nbest 3\r:attention on\rb\r{CTRL_D}", translator=translator)
    assert translator.asked == [("a", 5, 1, False), ("b", 8, 3, True)]


def test_a_session_begins_with_the_options(talk):
    translator = FakeTranslator()
    talk(f"a\r{CTRL_D}", translator=translator, beam=2, nbest=4, attention=True)
    assert translator.asked == [("a", 4, 4, True)]


def test_an_option_below_1_is_refused_before_the_session_begins(talk):
    with pytest.raises(UserError, match="number of 1 or more"):
        talk(CTRL_D, nbest=0)


def test_a_pasted_text_is_translated_line_by_line(talk):
    assert talk(f"\x1b[200~one\ntwo\n\x1b[201~\r{CTRL_D}") == ["ONE", "TWO"]


def test_tab_completes_a_command(talk):
    assert talk(f":be{TAB} 7\r{CTRL_D}") == ["beam 7, nbest 1"]


def test_the_next_session_remembers_what_was_typed(talk, tmp_path):
    arrow_up = "\x1b[A"
    talk(f"hello\r{CTRL_D}")
    assert "hello" in (tmp_path / "seq2seq" / "history").read_text("utf-8")
    assert talk(f"{arrow_up}\r{CTRL_D}") == ["HELLO"]


def test_without_a_writable_home_the_history_is_kept_in_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert isinstance(module._open_history(), FileHistory)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert isinstance(module._open_history(), InMemoryHistory)


def test_attention_on_is_refused_if_the_model_has_no_attention(talk):
    translator = FakeTranslator(decoder_heads=())
    said, *answers = talk(f":attention on\ra\rb\r{CTRL_D}", translator=translator)
    assert "no attention" in said
    assert answers == ["A", "B"]
    assert not any(attention for *_, attention in translator.asked)


def test_the_option_attention_is_refused_if_the_model_has_no_attention(talk):
    said, answer = talk(f"a\r{CTRL_D}", translator=FakeTranslator(decoder_heads=()), attention=True)
    assert "no attention" in said
    assert answer == "A"


# -------------------------------------------------------------------------------------------------------- commands


def test_help_names_every_command():
    shown = execute(":help", Settings(5, 1, False))
    assert [line.split()[0] for line in shown.splitlines()] == module.NAMES


def test_the_nbest_list_is_never_longer_than_the_beam():
    settings = Settings(beam=2, nbest=1, attention=False)
    assert execute(":nbest 6", settings) == "beam 6, nbest 6"
    assert execute(":beam 4", settings) == "beam 4, nbest 4"


def test_attention_is_switched_on_and_off():
    settings = Settings(5, 1, False)
    execute(":attention on", settings)
    assert settings.attention
    execute(":attention off", settings)
    assert not settings.attention


@pytest.mark.parametrize("line", [":beam", ":beam 0", ":beam -1", ":beam 2.5", ":beam 2 3", ":nbest x", ":attention"])
def test_a_bad_value_is_an_error_and_changes_nothing(line):
    settings = Settings(5, 1, False)
    with pytest.raises(UserError, match=line.split()[0]):
        execute(line, settings)
    assert settings == Settings(5, 1, False)


def test_the_error_of_an_unknown_command_suggests_the_nearest_one():
    with pytest.raises(UserError, match="did you mean :attention"):
        execute(":atention on", Settings(5, 1, False))


@pytest.mark.parametrize("line", ["hello", ":-)", ":", " :beam 3", "12:30"])
def test_only_a_colon_and_a_letter_at_the_beginning_make_a_command(line):
    assert not is_command(line)


# --------------------------------------------------------------------------------------------------------- answers


def test_the_nbest_list_shows_the_scores_that_rank_it():
    shown = answer(FakeTranslator(), "hello", Settings(5, 3, False))
    lines = [line.split(maxsplit=1) for line in shown.splitlines()]
    assert lines == [["-1.000", "HELLO"], ["-2.000", "OTHER 1"], ["-4.000", "OTHER 2"]]


def test_what_is_unsure_is_marked_with_the_reason():
    class Unsure(FakeTranslator):
        def translate(self, texts, **options):
            return [replace(each, unsure="repeats itself") for each in super().translate(texts, **options)]

    assert answer(Unsure(), "hello", Settings(5, 1, False)) == "unsure (repeats itself): HELLO"
    first, second, _ = answer(Unsure(), "hello", Settings(5, 2, False)).splitlines()
    assert (first, second.split()) == ("unsure (repeats itself):", ["-1.000", "HELLO"])


def test_the_attention_weights_follow_the_translation():
    shown = answer(FakeTranslator(), "hello", Settings(5, 1, True)).splitlines()
    assert shown[0] == "HELLO"
    assert any("██" in line for line in shown)
