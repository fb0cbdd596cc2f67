"""The command `seq2seq`. Each command imports what it needs when it runs, so that `--help` answers at once."""

import argparse
import errno
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from io import BytesIO, TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TextIO

from seq2seq.errors import UserError
from seq2seq.fast.allocator import keep_freed_memory

if TYPE_CHECKING:
    from seq2seq.decoding.translator import Look, Translation, Translator
    from seq2seq.evaluation.evaluate import Evaluation
    from seq2seq.plots import AttentionMap
    from seq2seq.runs.run import Run

Command = Callable[[argparse.Namespace], None]
SHOWN = 3  # source / reference / translation triples after a training
FIRST_SPEAKS = 10  # seconds that the other processes of a training wait before they print an error
BATCHES_OF_A_FILE = 16  # that are read at once and sorted by length, so that little is padded


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code. A user's mistake is one line on standard error and 2."""
    args = _parse(argv)
    keep_freed_memory()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # translations are UTF-8 whatever the locale
    try:
        args.command(args)
        sys.stdout.flush()
        return 0
    except UserError as error:
        if not _is_first_process():
            _let_the_first_process_speak()
        print(f"seq2seq: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read our output has gone
        _forget_output()
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS):
            raise
        place = error.filename or "standard output"
        fix = "make room, or write to another file"
        print(f"seq2seq: error: {place}: cannot be written: {error.strerror}; {fix}", file=sys.stderr)
        if not error.filename:
            _forget_output()
        return 2
    except KeyboardInterrupt as stopped:  # of a training `Stopped`, which knows more
        where = f" {stopped.where}" if hasattr(stopped, "where") else ""
        hints = {train: "; --resume goes on from there", compare: "; the same command goes on from there"}
        if _is_first_process():
            print(f"\nseq2seq: stopped{where}{hints.get(args.command, '')}", file=sys.stderr)
        return getattr(stopped, "exit_code", 130)


def _forget_output() -> None:
    """Let what is still to be printed go nowhere, so that Python does not try once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_first_process() -> bool:
    """Whether this process is the one of those that torchrun started that speaks for all; without torchrun it is."""
    return os.environ.get("RANK", "0") == "0"


def _let_the_first_process_speak() -> None:
    """Wait, so that an error of all processes is printed once, by the first; an error of this one alone comes later.

    torchrun ends all processes when one of them ends with an error. Without the wait it might end the first process
    before that has printed the error; with it, the first process prints and ends, and torchrun ends this one.
    """
    time.sleep(FIRST_SPEAKS)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments, with `section.key=value` allowed behind options too."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    strays = [word for word in rest if word.startswith("-") or "=" not in word or "overrides" not in args]
    if strays:
        parser.error(f"unrecognized arguments: {' '.join(strays)}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    return args


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(
        prog="seq2seq",
        description="Train an attention-based translator from parallel text, measure it, use it.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, indent_increment=1),
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(function: Command, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(function.__name__, help=help, description=function.__doc__)
        sub.set_defaults(command=function)
        return sub

    def on_run(function: Command, help: str) -> argparse.ArgumentParser:
        sub = command(function, help)
        sub.add_argument("run", metavar="RUN", help="a run folder, made by train")
        return sub

    sub = command(train, "train a model from a YAML config")
    _add_config(sub)
    sub.add_argument("--run", type=Path, metavar="DIR", help="the run folder (default: runs/ and the config's name)")
    sub.add_argument("--resume", action="store_true", help="go on with the run in the folder, if there is one")
    sub.add_argument(
        "--allow-changes",
        action="store_true",
        help="with --resume: go on though the config, the data or the vocabularies are not what they were",
    )

    sub = on_run(evaluate, "measure BLEU, chrF, TER, exact match and character error rate")
    sub.add_argument("--split", choices=("dev", "test"), default="test", help="of the run's data (default: test)")
    sub.add_argument("--src", metavar="FILE", help="translate these lines instead of a split; needs --ref")
    sub.add_argument("--ref", metavar="FILE", nargs="+", help="their reference translations, one file or several")
    _add_search(sub)
    sub.add_argument("--tokenize", default="13a", metavar="NAME", help="sacrebleu's tokenizer for BLEU (default: 13a)")
    sub.add_argument("--lowercase", action="store_true", help="compare without regard to case")
    sub.add_argument("--json", action="store_true", help="print one JSON object")

    sub = on_run(translate, "translate lines, or in a session where standard input is a terminal")
    _add_translate(sub)

    sub = on_run(score, "log-probability of given translations")
    sub.add_argument("--src", required=True, metavar="FILE", help="source lines")
    sub.add_argument("--tgt", required=True, metavar="FILE", help="their translations")

    sub = on_run(attention, "show what the model looks at while it translates a text")
    _add_attention(sub)

    sub = on_run(plot, "draw the learning curves, or the attention of one sentence at each kept checkpoint")
    sub.add_argument("--attention", metavar="TEXT", help="a source sentence; the best checkpoint translates it for all")
    sub.add_argument("--words", action="store_true", help="of --attention: pieces merged to words")
    sub.add_argument(
        "--output", type=Path, metavar="FILE", help="a .png or .svg picture (default: RUN/curves.png or attention.png)"
    )

    sub = command(compare, "train a grid of configs into a table; or test how two runs differ")
    _add_compare(sub)

    sub = command(check, "look for faults in the data, build the model, run one step; change nothing")
    _add_config(sub)
    sub.add_argument("--json", action="store_true", help="print one JSON object")

    sub = command(bench, "measure the speed of a training, where its time goes and what to change; write nothing")
    sub.add_argument("target", metavar="CONFIG | RUN", type=Path, help="a YAML file, or a run folder, made by train")
    _add_overrides(sub)
    sub.add_argument("--updates", type=int, default=30, metavar="N", help="how many are measured (default: 30)")
    sub.add_argument("--json", action="store_true", help="print one JSON object")

    command(selftest, "show in under a minute that what is installed works: it learns, and resumes to the bit")
    return parser


def _add_config(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("config", metavar="CONFIG", type=Path, help="a YAML file; docs/config.md explains every key")
    _add_overrides(sub)


def _add_overrides(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "overrides", metavar="section.key=value", nargs="*", default=[], help="any key, such as search.beam=8"
    )


def _add_translate(sub: argparse.ArgumentParser) -> None:
    """What to translate, how, and what to print."""
    sub.add_argument("--input", metavar="FILE", help="lines to translate (default: standard input)")
    sub.add_argument("--output", metavar="FILE", help="where to write the translations (default: standard output)")
    _add_search(sub)
    sub.add_argument(
        "--nbest", type=int, default=1, metavar="N", help="the N best: `line ||| translation ||| normalized score`"
    )
    sub.add_argument("--json", action="store_true", help="print an object a line, with scores and tokens")
    sub.add_argument("--attention", action="store_true", help="with --json or in a session: the attention matrix too")
    sub.add_argument("--sample", action="store_true", help="draw translations at random instead of searching")
    sub.add_argument(
        "--temperature", type=float, default=1.0, metavar="T", help="of --sample: below 1 is safer, above bolder"
    )
    sub.add_argument("--top-k", type=int, default=0, metavar="K", help="of --sample: from the K likeliest tokens")
    sub.add_argument("--top-p", type=float, default=1.0, metavar="P", help="of --sample: from the likeliest of mass P")
    sub.add_argument("--seed", type=int, metavar="N", help="of --sample (default: 1)")


def _add_attention(sub: argparse.ArgumentParser) -> None:
    """What to look at, and how to show it."""
    sub.add_argument("text", metavar="TEXT", nargs="?", help="a source sentence")
    sub.add_argument("--input", metavar="FILE", help="sentences, one a line; needs --format pharaoh or json")
    sub.add_argument(
        "--output", metavar="FILE", help="a .png or .svg picture, an .html page of everything, or the --format's file"
    )
    sub.add_argument(
        "--format",
        choices=("text", "json", "pharaoh"),
        help="text: the translation and a picture of letters (default); json: the tokens and all weights, an object a "
        "line; pharaoh: for each word of the translation the source word it looks at most, such as 0-0 1-2",
    )
    sub.add_argument("--words", action="store_true", help="pieces merged to words")
    sub.add_argument("--head", metavar="N", default="mean", help="one head, from 1 on; mean (the default) or all")
    sub.add_argument("--encoder", action="store_true", help="the encoder's self-attention, not the decoder's attention")
    sub.add_argument("--beam", type=int, metavar="N", help="hypotheses kept at each step (default: the config's)")


def _add_compare(sub: argparse.ArgumentParser) -> None:
    """A grid of trainings, or runs."""
    sub.add_argument(
        "targets",
        nargs="+",
        metavar="CONFIG | RUN",
        help="a YAML file and section.key=value for all trainings; or two or more run folders, the baseline first",
    )
    sub.set_defaults(overrides=[])
    grid = sub.add_argument_group("with a config")
    grid.add_argument(
        "--vary",
        action="append",
        metavar="section.key=VALUE,VALUE",
        help="values to try; several --vary are combined, every value with every other",
    )
    grid.add_argument("--seeds", type=int, metavar="N", help="trainings of each combination (default: 3)")
    grid.add_argument("--updates", type=int, metavar="N", help="length of each training: sets training.max_updates")
    grid.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="or its time: sets training.max_minutes; training.max_updates still holds",
    )
    grid.add_argument(
        "--run", type=Path, metavar="DIR", help="the comparison's folder (default: runs/compare- and the config's name)"
    )
    runs = sub.add_argument_group("with runs")
    runs.add_argument("--split", choices=("dev", "test"), help="lines to translate (default: test, or dev where none)")


def _add_search(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--beam", type=int, metavar="N", help="hypotheses kept at each step; 1 is greedy")
    sub.add_argument("--batch-size", type=int, metavar="N", help="sentences translated at a time")
    tokens = sub.add_mutually_exclusive_group()
    tokens.add_argument(
        "--shortlist", action="store_true", default=None, help="search among tokens likely for the sources only: faster"
    )
    tokens.add_argument("--exact", action="store_false", dest="shortlist", help="search among all tokens")


# ------------------------------------------------------------------------------------------------------ commands


def train(args: argparse.Namespace) -> None:
    """Train a model, then measure it on the test set and show some translations."""
    from seq2seq.config import load_config
    from seq2seq.evaluation.evaluate import evaluate as measure
    from seq2seq.evaluation.evaluate import keep, split_texts
    from seq2seq.training.train import train as loop

    config = load_config(args.config, args.overrides)
    with _log_beside_progress_bar():
        path = args.run or Path("runs") / args.config.stem
        run = loop(config, path, resume=args.resume, allow_changes=args.allow_changes)
    if not _is_first_process():
        return
    translator = _translator(run.path)
    split = "test" if config.data.test else "dev"
    evaluation = measure(translator, *split_texts(run, split))
    keep(run, split, evaluation)
    _print_evaluation(f"{split} set", evaluation)
    _show_translations(translator, evaluation.examples(SHOWN))
    print(f"\nThe model is in {run.path}. Translate with it: {shlex.join(['seq2seq', 'translate', str(run.path)])}")


def evaluate(args: argparse.Namespace) -> None:
    """Translate a test set and measure: BLEU, chrF, TER (sacrebleu), exact match, character error rate."""
    from seq2seq.evaluation.evaluate import evaluate as measure
    from seq2seq.evaluation.evaluate import file_texts, keep, split_texts
    from seq2seq.runs.run import Run

    if bool(args.src) != bool(args.ref):
        raise UserError("--src and --ref go together: the lines to translate and their reference translations")
    run = Run.open(args.run)
    name = Path(args.src).name if args.src else args.split
    sources, references = file_texts(args.src, args.ref) if args.src else split_texts(run, args.split)
    translator = _translator(args.run, args.batch_size, args.shortlist)
    evaluation = measure(
        translator, sources, references, beam=args.beam, tokenize=args.tokenize, lowercase=args.lowercase
    )
    keep(run, name, evaluation)
    if args.json:
        print(json.dumps(evaluation.as_dict()))
    else:
        _print_evaluation(name, evaluation)


def translate(args: argparse.Namespace) -> None:
    """Translate: one line out for every line in. On a terminal, a session."""
    from seq2seq.decoding.translator import Sampling

    translator = _translator(args.run, args.batch_size, args.shortlist)
    if sys.stdin.isatty() and sys.stdout.isatty() and not (args.input or args.output or args.json or args.sample):
        from seq2seq.runs.run import Run
        from seq2seq.serving.session import session

        language = Run.open(args.run).config().data.src
        session(translator, beam=args.beam, nbest=args.nbest, attention=args.attention, prompt=f"{language}> ")
        return
    _check_translate(args)
    seed = 1 if args.seed is None else args.seed
    sampling = Sampling(args.temperature, args.top_k, args.top_p, seed) if args.sample else None
    translator.checked_beam(args.beam, args.nbest)
    if args.input is None and sys.stdin.isatty():
        print("reading lines from the terminal, until Ctrl-D", file=sys.stderr)
    batches = BATCHES_OF_A_FILE if args.input and not sampling else 1  # a pipe waits for its answers
    with _chunks(args.input, batches * translator.search.batch_size) as chunks, _text_output(args.output) as out:
        number = 0
        for lines in chunks:
            for translation in translator.translate(
                lines, beam=args.beam, nbest=args.nbest, sampling=sampling, attention=args.attention
            ):
                _write(out, number, translation, args)
                number += 1
            sampling = sampling and replace(sampling, seed=seed + number)  # other random numbers for other lines
            out.flush()


def _check_translate(args: argparse.Namespace) -> None:
    """Options that contradict each other, or the files."""
    if args.attention and not args.json:
        raise UserError("--attention needs --json, or a session: a line of text has no room for a matrix")
    if args.sample and (args.nbest > 1 or args.beam is not None):
        raise UserError("--sample draws one translation a line; leave --nbest and --beam out")
    if not args.sample and (args.temperature, args.top_k, args.top_p, args.seed) != (1.0, 0, 1.0, None):
        raise UserError("--temperature, --top-k, --top-p and --seed are for --sample; add it")
    _must_differ(args.input, args.output)


def score(args: argparse.Namespace) -> None:
    """Print the log-probability (natural, `</s>` included) that the model gives each translation, a number a line."""
    from seq2seq.data.corpus import read_sides

    pairs = read_sides(args.src, args.tgt)
    translator = _translator(args.run)
    try:
        values = translator.score([src for src, _ in pairs], [tgt for _, tgt in pairs])
    except UserError as error:
        raise UserError(f"{args.src} with {args.tgt}: {error}") from None
    for value in values:
        print(f"{value:.6f}")


def attention(args: argparse.Namespace) -> None:
    """Translate a text and show, for each token of the translation, which source tokens the model looked at."""
    from seq2seq.plots import save_attention, save_page

    _check_attention(args)
    translator = _translator(args.run)
    _must_have_heads(translator, args)
    translator.checked_beam(args.beam)
    if args.input is not None:
        with _chunks(args.input, translator.search.batch_size) as chunks, _text_output(args.output) as out:
            for lines in chunks:
                for look in translator.look(lines, beam=args.beam):
                    out.write(_attention_line(look, args) + "\n")
                out.flush()
        return
    (look,) = translator.look([args.text], beam=args.beam)
    if not look.translation.source_tokens:
        raise UserError("TEXT is empty: there is nothing to look at")
    if not args.output or args.format:
        with _text_output(args.output) as out:
            out.write(_attention_line(look, args) + "\n")
        return
    path = Path(args.output)
    if path.suffix.lower() == ".html":
        save_page(path, args.text, look.translation.text, look.decoder, look.encoder)
    elif seen := _chosen(look, args):
        save_attention(path, seen, rows="source, looking" if args.encoder else "translation")
    print(look.translation.text)


def _check_attention(args: argparse.Namespace) -> None:
    """Options that contradict each other, or the files."""
    ending = Path(args.output or "").suffix.lower()
    drawn = ending in (".png", ".svg", ".html")
    if (args.text is None) == (args.input is None):
        raise UserError("give one of the two: TEXT, a sentence, or --input FILE, a sentence a line")
    if args.input is not None and args.format not in ("json", "pharaoh"):
        raise UserError("--input needs --format pharaoh or json: a line for each sentence")
    if args.output and not args.format and not drawn:
        raise UserError(f"--output {args.output}: write a .png, .svg or .html file, or add --format for text")
    if args.format and drawn:
        raise UserError(f"--output {args.output} is a drawing, --format {args.format} is text; leave one of them out")
    if ending == ".html" and (args.words or args.encoder or args.head != "mean"):
        raise UserError(f"--output {args.output} lets its reader choose; leave --words, --encoder and --head out")
    if args.head not in ("mean", "all") and not (args.head.isdecimal() and int(args.head) > 0):
        raise UserError(f"--head {args.head}: write mean, all, or the number of a head, from 1 on")
    if args.format == "pharaoh" and args.head == "all":
        raise UserError("--format pharaoh has one link a word; write --head mean or the number of a head")
    if args.format == "pharaoh" and args.encoder:
        raise UserError(
            "--format pharaoh links a translation to its source; leave --encoder out, or write --format json"
        )
    _must_differ(args.input, args.output)
    _must_be_text("TEXT", args.text)


def _must_have_heads(translator: "Translator", args: argparse.Namespace) -> None:
    """Whether the model has what the options ask for; a page takes what there is."""
    if args.encoder and not translator.encoder_heads:
        raise UserError(
            "--encoder: this model's encoder has no self-attention; train one with "
            "model.encoder.type=self_attention or model.encoder.self_attention_layers=1"
        )
    page = Path(args.output or "").suffix.lower() == ".html"
    if not args.encoder and not (page and translator.encoder_heads):
        _must_look(translator, hint="; add --encoder to see its self-attention" if translator.encoder_heads else "")
    count = len(translator.encoder_heads if args.encoder else translator.decoder_heads)
    if args.head not in ("mean", "all") and int(args.head) > count:
        raise UserError(f"--head {args.head}: the model has {count} here; write a number from 1 to {count}, or all")


def _must_look(translator: "Translator", hint: str = "") -> None:
    if not translator.decoder_heads:
        raise UserError(f"the model has no attention (model.attention.score is none): it looks nowhere{hint}")


def _chosen(look: "Look", args: argparse.Namespace) -> "AttentionMap | None":
    """The weights that the options ask for; None of an empty line."""
    seen = look.encoder if args.encoder else look.decoder
    if seen is None:
        return None
    if args.head != "all":
        seen = seen.mean() if args.head == "mean" else seen.head(int(args.head) - 1)
    return seen.words() if args.words else seen


def _attention_line(look: "Look", args: argparse.Namespace) -> str:
    """What is written of a sentence; of an empty one nothing, in JSON null."""
    from seq2seq.plots import terminal_attention

    seen = _chosen(look, args)
    if seen is None:
        return "null" if args.format == "json" else ""
    if args.format == "json":
        keys = {
            "translation": look.translation.text,
            "rows": seen.rows,
            "columns": seen.columns,
            "heads": seen.heads,
            "weights": seen.weights.round(6).tolist(),
        }
        return json.dumps(keys, ensure_ascii=False)
    return seen.pharaoh() if args.format == "pharaoh" else f"{look.translation.text}\n\n{terminal_attention(seen)}"


def plot(args: argparse.Namespace) -> None:
    """Draw how a run learned: losses, scores on the dev set, how its attention did, learning rate, speed; or what each
    kept checkpoint looks at in one sentence.
    """
    from seq2seq.plots import save_attention, save_curves
    from seq2seq.runs.run import Run

    run = Run.open(args.run)
    if args.attention is None:
        if args.words:
            raise UserError("--words is for --attention TEXT; add it")
        output = args.output or run.path / "curves.png"
        save_curves(output, run.metrics.records())
    else:
        _must_be_text("--attention", args.attention)
        output = args.output or run.path / "attention.png"
        seen = _attention_over_time(run, args.attention)
        save_attention(output, seen.words() if args.words else seen)
    print(output)


def _attention_over_time(run: "Run", text: str) -> "AttentionMap":
    """A head a kept checkpoint, the mean of its heads, while each is made to give the best one's translation."""
    from seq2seq.decoding.translator import Translator
    from seq2seq.plots import beside

    best, translator = run.checkpoints.named("best"), _translator(run.path)
    _must_look(translator)
    (found,) = translator.look([text])
    maps = {}
    for checkpoint in run.checkpoints.all():
        look = Translator.load(run.path, checkpoint=checkpoint).look_at(text, found.ids)
        assert look.decoder, "the model looks, and look_at refuses an empty text"
        maps[f"update {checkpoint.update:,}{', best' if checkpoint == best else ''}"] = look.decoder.mean()
    return beside(maps)


def compare(args: argparse.Namespace) -> None:
    """Compare configs or runs. A config: train every combination of the --vary values with several seeds, each into its
    own run folder, and print a table of what came out on the dev set; the same command again goes on where it stopped,
    and may have more values or seeds. Runs: test by paired bootstrap resampling whether they differ by more than the
    luck of a test set.
    """
    if Path(args.targets[0]).is_dir():
        _compare_runs(args)
    else:
        _compare_configs(args)


def _compare_configs(args: argparse.Namespace) -> None:
    from seq2seq.experiments.trials import compare as train_grid
    from seq2seq.experiments.trials import make_grid

    config, overrides = args.targets[0], [*args.targets[1:], *args.overrides]
    if strays := [word for word in overrides if "=" not in word or Path(word).is_dir()]:
        raise UserError(f"{strays[0]}: after a config come section.key=value; to compare runs give run folders alone")
    if args.split:
        raise UserError("--split is for runs; the models of a config are compared on data.dev")
    if args.vary is None:
        raise UserError("--vary is missing: what to compare, such as --vary model.attention.score=dot,general")
    if args.updates is not None and args.minutes is not None:
        raise UserError("--updates and --minutes are two lengths of a training; give one of them")
    for key, option, value in (("max_updates", "--updates", args.updates), ("max_minutes", "--minutes", args.minutes)):
        if value is None:
            continue
        if any(word.partition("=")[0].strip() == f"training.{key}" for word in overrides):
            raise UserError(f"{option} sets training.{key}, which is given as well; leave one of them out")
        overrides.append(f"training.{key}={value}")
    grid = make_grid(Path(config), overrides, args.vary, 3 if args.seeds is None else args.seeds)
    folder = args.run or Path("runs") / f"compare-{Path(config).stem}"
    with _log_beside_progress_bar():
        table = train_grid(grid, folder, ["seq2seq", *sys.argv[1:]])
    print(f"\n{table.markdown()}\nThe table is in {folder} (table.md, .csv, .json), each model in a folder there.")


def _compare_runs(args: argparse.Namespace) -> None:
    from seq2seq.evaluation.significance import SAMPLES, compare_runs
    from seq2seq.runs.run import Run

    if not Run(Path(args.targets[0])).exists():
        raise UserError(
            f"{args.targets[0]}: a folder without a config.yaml; give a YAML file, or two or more run folders"
        )
    given = {"--vary": args.vary, "--seeds": args.seeds, "--updates": args.updates, "--minutes": args.minutes}
    paths = [*args.targets, *args.overrides]  # the name of a comparison's run has a `=` in it
    for option, value in {**given, "--run": args.run}.items():
        if value is not None:
            raise UserError(f"{option} is for a config; {args.targets[0]} is a folder of a run")
    if len(paths) < 2:
        raise UserError(f"{args.targets[0]} alone cannot be compared; give two or more run folders, or a config")
    split, sentences, searches, tests = compare_runs([Path(path) for path in paths], args.split)
    print(f"{split} set: {sentences:,} sentences; paired bootstrap, {SAMPLES:,} samples; [95 % of the samples]")
    if len(set(searches)) > 1:
        print(
            "The runs search differently (beam, length penalty): a difference may come from that, not from the models."
        )
    width, wide = max(map(len, paths)), max(map(len, searches))
    for test in tests:
        print(f"\n{test.metric}   {test.signature}")
        baseline = test.systems[0].score
        for system, search in zip(test.systems, searches, strict=True):
            shown = "baseline" if system.p is None else f"{system.score - baseline:+.2f}   p = {system.p:.3f}"
            name = f"{system.name:<{width}}  {search:<{wide}}"
            print(f"  {name}  {system.score:6.2f}  [{system.low:.2f}, {system.high:.2f}]   {shown}")
        print("".join(f"  {verdict}\n" for verdict in test.verdicts()), end="")


def check(args: argparse.Namespace) -> None:
    """Read the data, learn the vocabularies, build the model, run one step forward, and say what there is; then which
    lines of the data look wrong, and what to do about them. Findings are advice: the exit code stays 0.
    """
    from seq2seq.config import load_config
    from seq2seq.doctor.check import facts

    found = facts(load_config(args.config, args.overrides))
    if args.json:
        print(json.dumps({fact.name: fact.data for fact in found}))
        return
    for fact in found:
        print("\n".join(fact.lines), flush=True)


def bench(args: argparse.Namespace) -> None:
    """Train some updates of a config, or of a run from its best checkpoint, and say how fast that is, where the time
    goes, how far it is from what the machine can do, and what to change. Nothing is written.
    """
    from seq2seq.profiling.bench import bench as measure
    from seq2seq.profiling.profile import report

    profile = measure(args.target, args.overrides, args.updates)
    print(json.dumps(profile.as_dict()) if args.json else "\n".join(report(profile)))


def selftest(args: argparse.Namespace) -> None:
    """Show on this machine, in under a minute, that the parts are there and work, that a model learns, that a training
    which is killed ends at the same bits as without, that damaged and dangerous checkpoints are refused, and that two
    processes train as one. Nothing of it stays. Exit code 1 where anything fails.
    """
    from textwrap import fill

    from seq2seq.doctor.selftest import selftest as outcomes

    seconds, failed = 0.0, []
    for name, passed, shown, took in outcomes():
        seconds += took
        failed += [] if passed else [name]
        line = f"{name:<11}{'ok' if passed else 'FAILED':<8}{shown}"
        print(fill(line, 120, subsequent_indent=" " * 19, break_long_words=False, break_on_hyphens=False), flush=True)
    print(f"{', '.join(failed)} failed" if failed else "everything works", f", in {seconds:.0f} s", sep="")
    if failed:
        raise SystemExit(1)


# ------------------------------------------------------------------------------------------------ input and output


def _translator(run: str | Path, batch_size: int | None = None, shortlist: bool | None = None) -> "Translator":
    from seq2seq.decoding.translator import Translator

    translator = Translator.load(run, shortlist=shortlist)
    if batch_size is not None:
        if batch_size < 1:
            raise UserError(f"--batch-size is {batch_size}; write 1 or more")
        translator.search = translator.search.model_copy(update={"batch_size": batch_size})
    return translator


@contextmanager
def _chunks(path: str | None, size: int) -> Iterator[Iterator[list[str]]]:
    """The lines of a file or of standard input, `size` at a time, the first of which are read at once.

    So an input that cannot be read is known before an output is opened, which that would empty.
    """
    from seq2seq.data.corpus import decode_lines

    with _binary_input(path) as (file, name):
        lines = decode_lines(file, name)
        chunks = iter(lambda: list(islice(lines, size)), [])
        yield chain(list(islice(chunks, 1)), chunks)


def _write(out: TextIO, number: int, translation: "Translation", args: argparse.Namespace) -> None:
    if args.json:
        keys = asdict(translation)
        if not args.attention:
            del keys["attention"]
        out.write(json.dumps(keys, ensure_ascii=False) + "\n")
    elif args.nbest == 1:
        out.write(translation.text + "\n")
    else:
        best = (translation.text, translation.normalized_score)
        for text, score in (best, *((other.text, other.normalized_score) for other in translation.alternatives)):
            out.write(f"{number} ||| {text} ||| {score:.4f}\n")


def _must_be_text(name: str, text: str | None) -> None:
    """Bytes of the command line that are no UTF-8 reach us as surrogates, which cannot be written."""
    if text and any("\ud800" <= c <= "\udfff" for c in text):
        raise UserError(f"{name} is not UTF-8: {text.encode(errors='backslashreplace').decode()}; write it in UTF-8")


def _must_differ(source: str | None, output: str | None) -> None:
    if source and output and Path(output).exists() and Path(source).exists() and Path(output).samefile(source):
        raise UserError(f"--output {output} is the --input file; give another one")


@contextmanager
def _binary_input(path: str | None) -> Iterator[tuple[BinaryIO, str]]:
    """Standard input, or a file, unpacked where it is gzipped; with the name that stands in errors."""
    from seq2seq.data.corpus import read_bytes

    if path is None:
        yield sys.stdin.buffer, "standard input"
    else:
        with BytesIO(read_bytes(path)) if path.endswith(".gz") else _opened("--input", path, "rb") as file:
            yield file, path


@contextmanager
def _text_output(path: str | None) -> Iterator[TextIO]:
    """Standard output, or a file; UTF-8 with line feeds on every system.

    Raises:
        UserError: the file cannot be opened, or written to its end, as on a full disk.
    """
    if path is None:
        yield sys.stdout
        return
    try:
        with _opened("--output", path, "wb") as file:
            yield TextIOWrapper(file, encoding="utf-8", newline="\n", write_through=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        fix = "make room, or write to another file"
        raise UserError(f"--output {path}: cannot be written: {error.strerror}; {fix}") from None


def _opened(option: str, path: str, mode: Literal["rb", "wb"]) -> BinaryIO:
    try:
        return open(path, mode)
    except OSError as error:
        raise UserError(f"{option} {path}: {error.strerror}; give a file that can be opened") from None


def _print_evaluation(name: str, evaluation: "Evaluation") -> None:
    print(f"\n{name}: {evaluation.sentences:,} sentences in {evaluation.seconds:.1f} s")
    for label, measure in evaluation.measures().items():
        print(f"  {label:<12}{measure.score:6.2f}   {measure.signature}")


def _show_translations(translator: "Translator", examples: list[tuple[str, str, str]]) -> None:
    """Source, reference and translation of some lines, and where the model looked for the first."""
    from seq2seq.plots import AttentionMap, terminal_attention

    for source, reference, translation in examples:
        print(f"\n  source       {source:.1000}\n  reference    {reference:.1000}\n  translation  {translation:.1000}")
    shown = translator.translate([examples[0][0]])[0]
    if shown.attention:
        print(f"\n{terminal_attention(AttentionMap.of_tokens(shown.tokens, shown.source_tokens, shown.attention))}")


@contextmanager
def _log_beside_progress_bar() -> Iterator[None]:
    """Lines of the log on standard output, above the progress bar where there is one."""
    from tqdm import tqdm

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tqdm.write(self.format(record), file=sys.stdout)
            sys.stdout.flush()

    log, handler = logging.getLogger("seq2seq"), Handler()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
