"""Train a model, measure it on the test set (on the dev set if there is none), and show some translations."""

import argparse
import os
import shlex
from itertools import islice
from pathlib import Path

from seq2seq.commands import console, options
from seq2seq.commands.evaluate import print_evaluation
from seq2seq.errors import UserError
from seq2seq.streams import say, write

TALL = 20  # tokens of a translation above twice those of its source: its picture would say little
HELP = "train a model from a YAML config"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the config and the run folder."""
    config = options.SHARED["config"] | {"help": "a YAML file; with --from only what differs from the old run, or none"}
    parser.add_argument("config", nargs="?", **config)
    options.add_shared(parser, "overrides")
    source = "start from the weights and vocabularies of a run (its best checkpoint) or of a checkpoint's folder"
    changes = "with --resume: continue even if the config, the data or the vocabularies have changed"
    add = parser.add_argument
    add("--run", type=options.folder, metavar="DIR", help="the run folder (default: runs/ and the config's name)")
    add("--from", dest="source", type=Path, metavar="RUN", help=source)
    add("--resume", action="store_true", help="continue the run in the folder, if there is one")
    add("--allow-changes", action="store_true", help=changes)


def run(args: argparse.Namespace) -> None:
    """Train, evaluate, and show examples."""
    from seq2seq.config import load_config
    from seq2seq.evaluation.evaluate import evaluate, save_evaluation, split_texts
    from seq2seq.plots import AttentionMap, terminal_attention
    from seq2seq.runs.run import Run
    from seq2seq.training.source import open_source
    from seq2seq.training.train import train

    # the config: with --from it is optional, and the first word may be an override
    file, overrides = args.config, args.overrides
    if file and args.source and "=" in str(file) and not file.is_file():
        file, overrides = None, [str(file), *overrides]
    if not (file or args.source):
        raise UserError("CONFIG is missing: give a YAML file, or --from RUN to start from the config of a run")
    if not (file or args.run):
        raise UserError(f"--from {args.source} without a config: name the folder of the new run with --run DIR")
    path = args.run or Run.default_path(file)

    # train; every process of torchrun takes part
    console.check_utf8("the working folder", os.getcwd())  # the run's config holds absolute paths
    with console.log_beside_progress_bar():
        source = open_source(args.source) if args.source else None
        config = load_config(file, overrides, source.run.config() if source else None)
        trained = train(config, path, resume=args.resume, allow_changes=args.allow_changes, source=source)
    if not console.is_first_process():
        return

    # measure the best checkpoint
    translator = console.load_translator(trained.path)
    split = "test" if config.data.test else "dev"
    tokenize = config.evaluation.bleu_tokenize
    evaluation = evaluate(translator, *split_texts(trained, split), tokenize=tokenize)
    save_evaluation(trained, split, evaluation)
    print_evaluation(f"{split} set", evaluation)

    # show what it does: some translations, and where the model looks in the first
    lines = zip(evaluation.sources, evaluation.references[0], evaluation.hypotheses, strict=True)
    for line, reference, translation in islice(lines, 3):
        shown = {"source": line, "reference": reference, "translation": translation}
        say("", *(f"  {name:<13}{text:.1000}" for name, text in shown.items()))
    (first,) = translator.translate(evaluation.sources[:1])
    if len(first.tokens) > 2 * len(first.source_tokens) + TALL:
        say(
            "",
            f"(where it looks is not drawn: the translation has {len(first.tokens):,} tokens, which is no good sign)",
        )
    elif first.attention:
        map = AttentionMap.of_tokens(first.tokens, first.source_tokens, first.attention)
        write(f"\n{terminal_attention(map)}\n")
    program, run, text = console.program(), str(trained.path), evaluation.sources[0]
    translate = shlex.join([*program, "translate", run])
    say("", f"The model is in {trained.path}. Translate with it: {translate}")
    then = {"see how it learned": ["plot", run], "open its page": ["serve", run]}
    if first.attention and text:
        then = {"look at its attention": ["attention", run, text, "--output", "attention.html"]} | then
    say(*(f"  {what:<22} {shlex.join([*program, *words])}" for what, words in then.items()))
