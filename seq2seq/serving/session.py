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
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.plots import AttentionMap, terminal_attention

COMMANDS = {
    ":help": "show this list",
    ":beam N": "keep N hypotheses at each step; 1 is greedy",
    ":nbest N": "show the N best, each with its log-probability over the length penalty",
    ":attention on|off": "show where the model looks while it translates",
    ":quit": "leave; so does Ctrl-D",
}
NAMES = [usage.split()[0] for usage in COMMANDS]
COMPLETIONS = [*NAMES, ":attention on", ":attention off"]
SWITCH = {"on": True, "off": False}
BLIND = "the model has no attention (model.attention.score is none): there is nothing to show"


@dataclass
class Settings:
    """What the commands of a session change."""

    beam: int
    nbest: int
    attention: bool
    looks: bool = True  # whether the model has attention


def session(translator: Translator, *, beam: int | None, nbest: int, attention: bool, prompt: str = "> ") -> None:
    """Read lines at a terminal and print their translations, until the end of file or `:quit`.

    Args:
        translator: of the model.
        beam: hypotheses kept at each step, by default `search.beam` of the run's config.
        nbest: translations shown of each line; more than `beam` raise it.
        attention: show the attention weights too; where the model has none, that is said once.
        prompt: stands before what is typed.

    Raises:
        UserError: beam or nbest below 1.
    """
    looks = bool(translator.decoder_heads)
    settings = Settings(translator.search.beam, 1, attention and looks, looks)
    if beam is not None:
        execute(f":beam {beam}", settings)
    standing = execute(f":nbest {nbest}", settings)
    print(f"Type a sentence to translate it ({standing}); :help lists the commands, Ctrl-D leaves.")
    if attention and not looks:
        print(BLIND)
    for line in _lines(prompt):
        if is_command(line) and line.split()[0] in (":quit", ":q"):
            return
        try:
            print(execute(line, settings) if is_command(line) else answer(translator, line, settings))
        except UserError as error:
            print(error)
        except KeyboardInterrupt:
            print("stopped; Ctrl-D leaves")


def is_command(line: str) -> bool:
    """Whether a line is for the session, not for the model: a colon and a letter, at its very beginning."""
    return line[:1] == ":" and line[1:2].isalpha()


def execute(line: str, settings: Settings) -> str:
    """Do what a command says; the line or lines to show.

    Raises:
        UserError: no such command, or a value that it does not take.
    """
    name, *values = line.split()
    value = " ".join(values)
    match name:
        case ":help":
            return "\n".join(f"{usage:<19}{meaning}" for usage, meaning in COMMANDS.items())
        case ":beam":
            settings.beam = _number(name, value)
            settings.nbest = min(settings.nbest, settings.beam)
        case ":nbest":
            settings.nbest = _number(name, value)
            settings.beam = max(settings.beam, settings.nbest)
        case ":attention":
            if value not in SWITCH:
                raise UserError(
                    f":attention is followed by {value or 'nothing'}; write :attention on or :attention off"
                )
            if SWITCH[value] and not settings.looks:
                return BLIND
            settings.attention = SWITCH[value]
            return f"attention {value}"
        case _:
            close = nearest(name, NAMES)
            hint = f"did you mean {close}?" if close else ":help lists the commands"
            raise UserError(f"no command {name}; {hint} (to translate such a line, begin it with a space)")
    return f"beam {settings.beam}, nbest {settings.nbest}"


def answer(translator: Translator, line: str, settings: Settings) -> str:
    """The translation of a line; with its scored alternatives and its attention weights where settings say so."""
    best = translator.translate([line], beam=settings.beam, nbest=settings.nbest, attention=settings.attention)[0]
    shown = best.text
    if settings.nbest > 1:
        ranked = [(best.normalized_score, best.text), *((a.normalized_score, a.text) for a in best.alternatives)]
        shown = "\n".join(f"{score:8.3f}  {text}" for score, text in ranked)
    if best.attention is not None:
        shown += f"\n\n{terminal_attention(AttentionMap.of_tokens(best.tokens, best.source_tokens, best.attention))}\n"
    return shown


def _number(name: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"{name} is followed by {value or 'nothing'}; write a number of 1 or more, such as {name} 5")
    return int(value)


def _lines(prompt: str) -> Iterator[str]:
    """What is typed, a line that is not blank at a time (a pasted text may hold several), until the end of file."""
    terminal: PromptSession[str] = PromptSession(
        prompt,
        history=_history(),
        completer=WordCompleter(COMPLETIONS, sentence=True),
        complete_style=CompleteStyle.READLINE_LIKE,
        complete_while_typing=False,
    )
    while True:
        try:
            text = terminal.prompt()
        except KeyboardInterrupt:
            print("line dropped; Ctrl-D or :quit leaves")
            continue
        except EOFError:
            return
        yield from (line for line in text.split("\n") if line.strip())


def _history() -> History:
    """The lines of earlier sessions, in the user's own folder; of this one alone where nothing can be written there."""
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        path = Path(state) / "seq2seq" / "history"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # what someone translates is theirs alone
        path.open("ab").close()
    except (OSError, RuntimeError):  # RuntimeError: no home
        return InMemoryHistory()
    return FileHistory(path)
