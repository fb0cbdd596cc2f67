"""The interactive session: a line in, its translation out, and commands that begin with a colon."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.shortcuts import CompleteStyle

from seq2seq.config import nearest
from seq2seq.decoding.translation import Alternative, Translation
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.plots import AttentionMap, terminal_attention
from seq2seq.streams import say

COMMANDS = {
    ":help": "show this list",
    ":beam N": "keep N hypotheses at each step; 1 is greedy",
    ":nbest N": "show the N best translations, each with its log-probability over the length penalty",
    ":attention on|off": "show where the model looks while it translates",
    ":quit": "leave; so does Ctrl-D",
}
NAMES = [usage.split()[0] for usage in COMMANDS]
NO_ATTENTION = "the model has no attention (model.attention.score is none): there is nothing to show"


@dataclass
class Settings:
    """The settings that the commands of a session change."""

    beam: int
    nbest: int
    attention: bool
    has_attention: bool = True  # whether the model has any


def session(translator: Translator, *, beam: int | None, nbest: int, attention: bool, prompt: str = "> ") -> None:
    """Read lines at a terminal and print their translations, until the end of file or `:quit`.

    By default `beam` is `search.beam` of the run's config; a larger `nbest` raises it. Below 1 both are UserErrors.
    """
    # begin with the options, which obey the rules of the commands
    has_attention = bool(translator.decoder_heads)
    settings = Settings(translator.search.beam, 1, attention and has_attention, has_attention)
    if beam is not None:
        execute(f":beam {beam}", settings)
    shown = execute(f":nbest {nbest}", settings)
    say(f"Type a sentence to translate it ({shown}); :help lists the commands, Ctrl-D leaves.")
    if attention and not has_attention:
        say(NO_ATTENTION)

    # answer line by line
    for line in _read_lines(prompt):
        if is_command(line) and line.split()[0] in (":quit", ":q"):
            return
        try:
            shown = execute(line, settings) if is_command(line) else answer(translator, line, settings)
            say(*shown.split("\n"))
        except UserError as error:
            say(str(error))
        except KeyboardInterrupt:
            say("stopped; Ctrl-D leaves")


def is_command(line: str) -> bool:
    """Return whether a line is a command: whether it begins with a colon and a letter."""
    return line[:1] == ":" and line[1:2].isalpha()


def execute(line: str, settings: Settings) -> str:
    """Carry out a command, and return the lines to show. A wrong command or value is a UserError."""
    name, *values = line.split()
    value = " ".join(values)
    match name:
        case ":help":
            return "\n".join(f"{usage:<19}{meaning}" for usage, meaning in COMMANDS.items())
        # the n-best list is never longer than the beam
        case ":beam":
            settings.beam = _parse_number(name, value)
            settings.nbest = min(settings.nbest, settings.beam)
        case ":nbest":
            settings.nbest = _parse_number(name, value)
            settings.beam = max(settings.beam, settings.nbest)
        case ":attention":
            if value not in ("on", "off"):
                raise UserError(f":attention takes on or off, not {value or 'nothing'}; write :attention on")
            if value == "on" and not settings.has_attention:
                return NO_ATTENTION
            settings.attention = value == "on"
            return f"attention {value}"
        case _:
            close = nearest(name, NAMES)
            hint = f"did you mean {close}?" if close else ":help lists the commands"
            raise UserError(f"no command {name}; {hint} (to translate such a line, begin it with a space)")
    return f"beam {settings.beam}, nbest {settings.nbest}"


def answer(translator: Translator, line: str, settings: Settings) -> str:
    """Return the translation of a line, with n-best list and attention weights if the settings ask for them."""
    best = translator.translate([line], beam=settings.beam, nbest=settings.nbest, attention=settings.attention)[0]

    # the n-best list, each translation with the score that ranks it
    doubt = f"unsure ({best.unsure}): " if best.unsure else ""
    shown = doubt + best.text
    if settings.nbest > 1:
        ranked: list[Translation | Alternative] = [best, *best.alternatives]
        lines = [f"{each.normalized_score:8.3f}  {each.text}" for each in ranked]
        shown = "\n".join([doubt.rstrip(), *lines] if doubt else lines)

    # the attention weights, drawn in characters
    if best.attention is not None:
        shown += f"\n\n{terminal_attention(AttentionMap.of_tokens(best.tokens, best.source_tokens, best.attention))}\n"
    return shown


def _parse_number(name: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"{name} takes a number of 1 or more, not {value or 'nothing'}; write {name} 5")
    return int(value)


def _read_lines(prompt: str) -> Iterator[str]:
    """Yield the lines that are typed, except blank ones, until the end of file; a pasted text may hold several."""
    terminal: PromptSession[str] = PromptSession(
        prompt,
        history=_open_history(),
        completer=WordCompleter([*NAMES, ":attention on", ":attention off"], sentence=True),
        complete_style=CompleteStyle.READLINE_LIKE,
        complete_while_typing=False,
    )
    while True:
        try:
            text = terminal.prompt()
        except KeyboardInterrupt:
            say("line dropped; Ctrl-D or :quit leaves")
            continue
        except EOFError:
            return
        yield from (line for line in text.split("\n") if line.strip())


def _open_history() -> History:
    """Open the history in the user's own folder; if nothing can be written there, keep this session's in memory."""
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        path = Path(state) / "seq2seq" / "history"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # only the user may read what the user translates
        path.open("ab").close()
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return InMemoryHistory()
    return FileHistory(path)
