"""The interactive session: a line in, its translation out, and commands that begin with a colon."""

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.shortcuts import CompleteStyle
from wcwidth import ljust, wcswidth

from seq2seq.decoding.explaining import explain
from seq2seq.decoding.looking import Look
from seq2seq.decoding.translation import Alternative, Options, Sampling, Translation
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError, nearest
from seq2seq.plots import Screen, save_page, terminal_attention
from seq2seq.plots.textbook import textbook_page
from seq2seq.runs.run import Run
from seq2seq.serving.about import are_words, choose_examples, describe, read_sources
from seq2seq.streams import say, write

NO_ATTENTION = "the model has no attention (model.attention.score is none): there is nothing to show"
WORDS = {"quit": ":quit", "exit": ":quit", "help": ":help", "?": ":help"}  # commands that people type without a colon
ALIASES = {":q": ":quit", ":exit": ":quit", ":?": ":help"}


class Shown(NamedTuple):
    """What a session shows of a line: text, and a picture whose colors must not be spelled out."""

    text: str
    picture: str = ""


@dataclass
class Session:
    """A model, and the settings that the commands change."""

    run: Run
    translator: Translator
    options: Options
    attention: str = "off"  # or on, words
    head: str = "auto"  # or mean, all, or a number from 1 on
    other: tuple[Run, Translator] | None = None  # the model that every translation is compared with
    last: tuple[str, Translation] | None = None  # the last line, and its translation
    drawn: int = 0  # random translations so far
    to_file: Callable[[str, str, Options], None] | None = None

    def __post_init__(self) -> None:
        sources = read_sources(self.run)
        self.sentences, self.has_words = choose_examples(sources), are_words(sources)

    # --------------------------------------------------------------------------------------------------- translations

    def respond(self, line: str) -> Shown:
        """Carry out a command, or translate a line. A wrong command or value is a UserError that changes nothing.

        A command begins with a colon and a letter or `?`. `quit`, `exit`, `help` and `?` are commands too, unless most
        lines of the dev set are one word: there they are words to translate.
        """
        name, _, value = line.partition(" ")
        if not value.strip() and not self.has_words and name.lower() in WORDS:
            name = WORDS[name.lower()]
        if not (name[:1] == ":" and (name[1:2].isalpha() or name == ":?")):
            return self.answer(line)
        name = ALIASES.get(name, name)
        if name not in COMMANDS:
            close = nearest(name, COMMANDS)
            hint = f"did you mean {close}?" if close else ":help lists the commands"
            raise UserError(f"no command {name:.40}; {hint} (to translate such a line, begin it with a space)")
        if value.strip() and not COMMANDS[name].usage:
            raise UserError(f"{name} takes nothing, not {value.strip():.40}; write {name} alone")
        return Shown(COMMANDS[name].act(self, value.lstrip() if name == ":prefix" else value.strip()))

    def answer(self, line: str) -> Shown:
        """Translate a line, and show what the settings ask for beside its translation."""
        # the translation, or the n-best list with the scores that rank it
        best = self.translate(line)
        self.last = (line, best)
        text = _doubt(best) + best.text
        if self.other:
            text = self.compared(line, best)
        elif best.alternatives:
            ranked: list[Translation | Alternative] = [best, *best.alternatives]
            lines = [f"{each.normalized_score:8.3f}  {each.text}" for each in ranked]
            text = "\n".join([_doubt(best).rstrip(), *lines] if best.unsure else lines)

        # where the model looked
        if self.attention == "off" or not best.source_tokens:
            return Shown(text)
        map = self.look()[1].decoder
        assert map, "a model with attention has a map"
        map = (map.words() if self.attention == "words" else map).select(self.head)
        return Shown(f"{text}\n", f"{terminal_attention(map, Screen.in_use(), '`:html FILE`')}\n")

    def translate(self, line: str, translator: Translator | None = None) -> Translation:
        """Translate a line by the settings; each random translation has random numbers of its own."""
        options = self.options
        if options.sampling:
            options = replace(options, sampling=replace(options.sampling, seed=options.sampling.seed + self.drawn))
            self.drawn += translator is None
        (translation,) = (translator or self.translator).translate([line], attention=False, **vars(options))
        return translation

    def compared(self, line: str, best: Translation) -> str:
        """Return the translations of both models, each after the name of its run."""
        assert self.other
        run, translator = self.other
        names, found = (str(self.run.path), str(run.path)), (best, self.translate(line, translator))
        width = max(map(wcswidth, names))
        lines = (f"{ljust(name, width)}  {_doubt(each)}{each.text}" for name, each in zip(names, found, strict=True))
        return "\n".join(lines)

    def look(self) -> tuple[str, Look]:
        """Return the last line, and where every head looked for its translation."""
        if not (self.last and self.last[1].source_tokens):
            raise UserError("there is no translation yet; type a sentence first")
        line, best = self.last
        options = Options(beam=1, split_sentences=self.options.split_sentences, prefix_tokens=best.tokens)
        (look,) = self.translator.look([line], options)
        return line, look

    # -------------------------------------------------------------------------------------------------- the commands

    def help(self, _: str) -> str:
        """Show this list."""
        lines = [f"{f'{name} {each.usage}':<24}{_meaning(each)}" for name, each in COMMANDS.items()]
        words = "quit, exit, help and ? are commands too; to translate one, begin with a space"
        return "\n".join(lines if self.has_words else [*lines, words])

    def examples(self, _: str) -> str:
        """Translate three sentences of the dev set."""
        if not self.sentences:
            raise UserError("the dev set of this run cannot be read: there are no examples")
        return "\n".join(f"{line}\n    {self.translate(line).text}" for line in self.sentences)

    def info(self, _: str) -> str:
        """Show what is known of the model, and the settings."""
        known = describe(self.run, self.translator) | {"run": str(self.run.path), "settings": self.described()}
        return "\n".join(f"{name:<14}{value}" for name, value in known.items())

    def set_beam(self, value: str) -> str:
        """Keep N hypotheses at each step; 1 is greedy."""
        beam = _number(":beam", value)
        return self.change(replace(self.options, beam=beam, nbest=min(self.options.nbest, beam)))

    def set_nbest(self, value: str) -> str:
        """Show the N best translations, each with its normalized score."""
        nbest = _number(":nbest", value)
        beam = max(self.options.beam or self.translator.search.beam, nbest)
        return self.change(replace(self.options, nbest=nbest, beam=beam))

    def set_alpha(self, value: str) -> str:
        """Set the exponent of the length penalty, from 0 (none) on."""
        return self.change(replace(self.options, length_penalty=_real(":alpha", value, "0.6")))

    def set_sampling(self, value: str) -> str:
        """Draw translations at random, at temperature T."""
        if value == "off":
            return self.change(replace(self.options, sampling=None))
        temperature = _real(":sample", value if value not in ("", "on") else "1", "0.8, or :sample off")
        return self.change(replace(self.options, sampling=Sampling(temperature)))

    def set_prefix(self, value: str) -> str:
        """Begin every translation with TEXT."""
        return self.change(replace(self.options, prefix=None if value.strip() in ("", "off") else value))

    def set_ban(self, value: str) -> str:
        """Allow no translation with this word or phrase."""
        return self.change(replace(self.options, ban=() if value in ("", "off") else (*self.options.ban, value)))

    def change(self, options: Options) -> str:
        """Take new options, and describe all that differ from a plain search; what cannot be obeyed is a UserError."""
        if options.prefix or options.ban:
            line = self.last[0] if self.last else (self.sentences or ["a"])[0]
            quick = replace(options, beam=1, nbest=1, sampling=None)
            for translator in (self.translator, *([self.other[1]] if self.other else [])):
                translator.translate([line], attention=False, **vars(quick))
        self.options = options
        return self.described()

    def described(self) -> str:
        """Describe the settings."""
        options, search = self.options, self.translator.search
        shown = [f"beam {options.beam or search.beam}", f"nbest {options.nbest}"]
        if options.sampling:
            shown = [f"drawn at random at temperature {options.sampling.temperature:g} (:sample off searches again)"]
        shown += [f"alpha {options.length_penalty:g}"] if options.length_penalty is not None else []
        shown += [f"prefix {options.prefix!r}"] if options.prefix else []
        shown += [f"banned {', '.join(map(repr, options.ban))}"] if options.ban else []
        shown += [f"attention {self.attention}, head {self.head}"] if self.attention != "off" else []
        shown += [f"compared with {self.other[0].path}"] if self.other else []
        return ", ".join(shown)

    def set_attention(self, value: str) -> str:
        """Show where the model looks, by token or by word."""
        if value not in ("on", "off", "words"):
            raise UserError(f":attention takes on, off or words, not {value or 'nothing'}; write :attention on")
        if value != "off" and not self.translator.decoder_heads:
            raise UserError(NO_ATTENTION)
        self.attention = value
        return f"attention {value}"

    def set_head(self, value: str) -> str:
        """Choose the head to show; auto: the mean and what it hides."""
        count = len(self.translator.decoder_heads)
        if value not in ("auto", "mean", "all") and not (value.isdecimal() and 1 <= int(value[:9]) <= count):
            heads = f"1 to {count}" if count else "which this model has none of"
            raise UserError(
                f":head takes auto, mean, all or a head, {heads}, not {value or 'nothing'}; write :head all"
            )
        self.head = value
        return f"head {value}" + ("" if self.attention != "off" else "; :attention on shows it")

    def explain(self, value: str) -> str:
        """Show every equation of step N of the last translation."""
        step, head = _number(":explain", value or "1"), int(self.head) if self.head.isdecimal() else 1
        text, look = self.look()
        return textbook_page(explain(self.translator, text, look.ids, step=step, head=head))

    def save_html(self, value: str) -> str:
        """Write the attention of the last translation as a page."""
        if not value:
            raise UserError(":html takes the name of a file; write :html attention.html")
        (text, look), path, data = self.look(), Path(value).expanduser(), self.run.config().data
        if not (look.decoder or look.encoder):
            raise UserError(NO_ATTENTION)
        save_page(path, text, look.translation.text, look.decoder, look.encoder, (data.src, data.tgt))
        return str(path)

    def compare(self, value: str) -> str:
        """Show the translations of another run too."""
        if value in ("", "off"):
            self.other = None
            return self.described()
        run = Run.open(Path(value).expanduser())
        ours, theirs = (each.config().data for each in (self.run, run))
        if (ours.src, ours.tgt) != (theirs.src, theirs.tgt):
            raise UserError(f"{value} translates {theirs.src} to {theirs.tgt}, not {ours.src} to {ours.tgt}")
        before, self.other = self.other, (run, Translator.load(run.path, device=str(self.translator.device)))
        try:
            return self.answer(self.last[0]).text if self.last else self.change(self.options)
        except UserError:  # it cannot write the prefix
            self.other = before
            raise

    def translate_file(self, value: str) -> str:
        """Translate the lines of a file into another."""
        try:
            names = [name.strip("\"'") for name in shlex.split(value, posix=os.name == "posix")]
        except ValueError:  # a quote is open
            names = []
        if len(names) != 2 or not self.to_file:
            raise UserError(':file takes two files; write :file in.txt out.txt, a name with spaces in "quotes"')
        source, target = (str(Path(name).expanduser()) for name in names)
        self.to_file(source, target, self.options)
        return f"translated {source} into {target}"

    def quit(self, _: str) -> str:
        """Leave; so does Ctrl-D."""
        raise EOFError


class Command(NamedTuple):
    """A command of the session; its method gets what was typed after the name, and the docstring says what it does."""

    act: Callable[[Session, str], str]
    usage: str = ""  # what follows its name
    values: tuple[str, ...] = ()  # that Tab completes
    takes_file: bool = False


COMMANDS = {
    ":help": Command(Session.help),
    ":examples": Command(Session.examples),
    ":info": Command(Session.info),
    ":beam": Command(Session.set_beam, "N"),
    ":nbest": Command(Session.set_nbest, "N"),
    ":alpha": Command(Session.set_alpha, "A"),
    ":sample": Command(Session.set_sampling, "T|off", ("off",)),
    ":prefix": Command(Session.set_prefix, "TEXT|off", ("off",)),
    ":ban": Command(Session.set_ban, "TEXT|off", ("off",)),
    ":attention": Command(Session.set_attention, "on|off|words", ("on", "off", "words")),
    ":head": Command(Session.set_head, "N|mean|all|auto", ("auto", "mean", "all")),
    ":explain": Command(Session.explain, "N"),
    ":html": Command(Session.save_html, "FILE", takes_file=True),
    ":compare": Command(Session.compare, "RUN|off", ("off",), takes_file=True),
    ":file": Command(Session.translate_file, "IN OUT", takes_file=True),
    ":quit": Command(Session.quit),
}


def session(
    run: Run,
    translator: Translator,
    options: Options,
    *,
    attention: bool = False,
    to_file: Callable[[str, str, Options], None] | None = None,
) -> None:
    """Read lines at a terminal and print their translations, until the end of file or `:quit`.

    Args:
        run: the run.
        translator: its model.
        options: how to translate; the commands change this.
        attention: show the attention weights.
        to_file: translates a file into another, for `:file`.
    """
    # greet
    talk = Session(run, translator, options, to_file=to_file)
    talk.change(options)
    known = describe(run, translator)
    facts = [known[name] for name in ("learned from", "measured") if name in known]
    say(": ".join([known["languages"], ", ".join(facts)] if facts else [known["languages"]]))
    say(f"{known['model']}; {known['vocabulary']}")
    if "beware" in known:
        say(known["beware"])
    for number, sentence in enumerate(talk.sentences):
        say(f"{'' if number else 'try':<5}{sentence}")
    say("Type a sentence to translate it; :help lists the commands, :quit leaves.")
    if attention and not translator.decoder_heads:
        say(NO_ATTENTION)
    elif attention:
        talk.set_attention("on")

    # answer line by line
    for line in _read_lines(f"{run.config().data.src}> "):
        try:
            shown = talk.respond(line)
            say(*shown.text.split("\n"))
            write(f"{shown.picture}\n" if shown.picture else "")
        except UserError as error:
            say(str(error))
        except KeyboardInterrupt:
            say("stopped; Ctrl-D leaves")
        except EOFError:
            return


def _read_lines(prompt: str) -> Iterator[str]:
    """Yield the lines that are typed, except blank ones, until the end of file; a pasted text may hold several."""
    terminal: PromptSession[str] = PromptSession(
        prompt,
        history=_open_history(),
        completer=_Completer(),
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


class _Completer(Completer):
    """The completion of commands and of their values."""

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        name, space, value = document.text_before_cursor.partition(" ")
        command = COMMANDS.get(name)
        words: Sequence[str] = list(COMMANDS) if not space and name.startswith(":") else ()
        typed = name
        if space and command:
            words, typed = command.values, value
        yield from (Completion(word, -len(typed)) for word in words if word.startswith(typed) and word != typed)
        if space and command and command.takes_file:
            last = value.rpartition(" ")[2]
            yield from PathCompleter(expanduser=True).get_completions(Document(last), complete_event)


def _meaning(command: Command) -> str:
    meaning = (command.act.__doc__ or "").removesuffix(".")
    return meaning[:1].lower() + meaning[1:]


def _doubt(translation: Translation) -> str:
    return f"unsure ({translation.unsure}): " if translation.unsure else ""


def _number(name: str, value: str) -> int:
    if not value.isdecimal() or len(value) > 9 or int(value) < 1:
        raise UserError(f"{name} takes a number of 1 or more, not {value or 'nothing'}; write {name} 5")
    return int(value)


def _real(name: str, value: str, example: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise UserError(f"{name} takes a number, not {value or 'nothing'}; write {name} {example}") from None
