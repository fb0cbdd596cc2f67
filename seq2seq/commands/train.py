"""Train a model, measure it on the test set (on the dev set if there is none), and show some translations."""

import argparse
import shlex
from itertools import islice
from pathlib import Path

from seq2seq.commands import console, options
from seq2seq.commands.evaluate import print_evaluation

HELP = "train a model from a YAML config"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the config and the run folder."""
    options.add_shared(parser, "config", "overrides")
    changes = "with --resume: continue even if the config, the data or the vocabularies have changed"
    add = parser.add_argument
    add("--run", type=Path, metavar="DIR", help="the run folder (default: runs/ and the config's name)")
    add("--resume", action="store_true", help="continue the run in the folder, if there is one")
    add("--allow-changes", action="store_true", help=changes)


def run(args: argparse.Namespace) -> None:
    """Train, evaluate, and show examples."""
    from seq2seq.config import load_config
    from seq2seq.evaluation.evaluate import evaluate, save_evaluation, split_texts
    from seq2seq.plots import AttentionMap, terminal_attention
    from seq2seq.training.train import train

    # train; every process of torchrun takes part
    config = load_config(args.config, args.overrides)
    path = args.run or Path("runs") / args.config.stem
    with console.log_beside_progress_bar():
        trained = train(config, path, resume=args.resume, allow_changes=args.allow_changes)
    if not console.is_first_process():
        return

    # measure the best checkpoint
    translator = console.load_translator(trained.path)
    split = "test" if config.data.test else "dev"
    evaluation = evaluate(translator, *split_texts(trained, split))
    print_evaluation(f"{split} set", evaluation)
    save_evaluation(trained, split, evaluation)

    # show what it does: some translations, and where the model looks in the first
    lines = zip(evaluation.sources, evaluation.references[0], evaluation.hypotheses, strict=True)
    for source, reference, translation in islice(lines, 3):
        print(f"\n  source       {source:.1000}\n  reference    {reference:.1000}\n  translation  {translation:.1000}")
    (first,) = translator.translate(evaluation.sources[:1])
    if first.attention:
        print(f"\n{terminal_attention(AttentionMap.of_tokens(first.tokens, first.source_tokens, first.attention))}")
    command = shlex.join(["seq2seq", "translate", str(trained.path)])
    print(f"\nThe model is in {trained.path}. Translate with it: {command}")
