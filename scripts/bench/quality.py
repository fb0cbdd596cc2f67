"""Measure how long a toolkit trains on raw text until its dev BLEU reaches a goal (beam 5, sacrebleu 13a, cased).

    python scripts/bench/quality.py scripts/bench/peers/joeynmt_small_1.yaml     JoeyNMT (first: peers.py setup)
    python scripts/bench/quality.py scripts/bench/peers/seq2seq_small.yaml       this project

The corpus is Multi30k de-en; the clock starts before the vocabulary is learned. During training both toolkits validate
greedily. Training ends when the greedy BLEU is one point above the goal (so that beam search reaches the goal too), or
after `--minutes`. Then every checkpoint, the oldest first, translates dev with beam 5, until one reaches the goal.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import sacrebleu
import yaml
from peers import Bench
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from seq2seq.decoding.translator import Translator
from seq2seq.runs.checkpoints import Checkpoint

GAIN = 5  # the most BLEU that beam search adds: checkpoints further below the goal are not tried


class Validation(NamedTuple):
    """A greedy validation that the toolkit itself did during training."""

    update: int
    greedy: float
    seconds: float  # from the start to the end of this validation
    training: float  # the same, without the time of validations
    checkpoint: Path


class JoeyNMT:
    """A training of JoeyNMT. Its vocabulary is learned here, since the package has no command for that."""

    def __init__(self, bench: Bench, config: Path, corpus: Path, folder: Path):
        self.bench, self.corpus, self.folder = bench, corpus, folder
        self.config = yaml.safe_load(config.read_text(encoding="utf-8")) | {"model_dir": str(folder / "model")}
        self.config["data"] |= {"train": str(corpus / "train"), "dev": str(corpus / "val")}
        for side in ("src", "trg"):
            made = {"voc_file": str(folder / "vocab"), "tokenizer_cfg": {"model_file": str(folder / "pieces.model")}}
            self.config["data"][side] |= made

    def train(self) -> Iterator[Validation]:
        """Train; yield each validation as it ends."""
        start = time.perf_counter()
        self._learn_vocabulary()
        update, greedy, began, validating = 0, 0.0, start, 0.0
        for line in lines_of(self.bench, "joeynmt", "-m", "joeynmt_today", "train", "--skip-test", self._file()):
            if found := re.search(r"Step: +(\d+)", line):
                update = int(found[1])
            elif re.search(r"Predicting \d+ example", line):
                began = time.perf_counter()
            elif found := re.search(r"Evaluation result .*bleu: +([\d.]+)", line):
                greedy = float(found[1])
            elif "Hypothesis:" in line:  # the example that the config asks for comes last in a validation
                now = time.perf_counter()
                validating += now - began
                checkpoint = self.folder / "model" / f"{update}.ckpt"
                yield Validation(update, greedy, now - start, now - start - validating, checkpoint)

    def translate(self, checkpoint: Path, texts: list[str]) -> list[str]:
        """Translate with beam 5."""
        self.config["testing"]["load_model"] = str(checkpoint)
        command = ("-m", "joeynmt_today", "translate", self._file())
        return self.bench.run("joeynmt", *command, given="\n".join(texts))[0].splitlines()

    def _learn_vocabulary(self) -> None:
        texts = [str(self.corpus / f"train.{language}") for language in ("de", "en")]
        size, prefix = self.config["data"]["src"]["voc_limit"], str(self.folder / "pieces")
        SentencePieceTrainer.train(input=texts, model_prefix=prefix, vocab_size=size, minloglevel=3)
        model = SentencePieceProcessor(model_file=f"{prefix}.model")
        pieces = [model.id_to_piece(i) for i in range(3, len(model))]  # after <unk>, <s> and </s>
        (self.folder / "vocab").write_text("\n".join(pieces) + "\n", encoding="utf-8")

    def _file(self) -> Path:
        file = self.folder / "config.yaml"
        file.write_text(yaml.safe_dump(self.config), encoding="utf-8")
        return file


class Seq2Seq:
    """A training of this project."""

    def __init__(self, bench: Bench, config: Path, corpus: Path, folder: Path):
        self.bench, self.config, self.corpus, self.run = bench, config.absolute(), corpus, folder / "run"

    def train(self) -> Iterator[Validation]:
        """Train; yield each validation as it ends."""
        start = time.perf_counter()
        keys = (f"data.train={self.corpus / 'train'}", f"data.dev={self.corpus / 'val'}", "training.keep=1000")
        for line in lines_of(self.bench, "seq2seq", "-m", "seq2seq", "train", self.config, "--run", self.run, *keys):
            if re.match(r"update +[\d,]+ ", line):
                seconds = time.perf_counter() - start
                records = map(json.loads, (self.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
                dev = [record for record in records if record["split"] == "dev"]
                update, training = dev[-1]["update"], seconds - sum(record["seconds"] for record in dev)
                checkpoint = self.run / "checkpoints" / f"step-{update:06d}"
                yield Validation(update, dev[-1]["bleu"], seconds, training, checkpoint)

    def translate(self, checkpoint: Path, texts: list[str]) -> list[str]:
        """Translate with beam 5."""
        translator = Translator.load(self.run, checkpoint=Checkpoint(checkpoint))
        return [found.text for found in translator.translate(texts, beam=5, attention=False)]


def lines_of(bench: Bench, toolkit: str, *arguments: object) -> Iterator[str]:
    """Yield the lines that a command prints; kill it when the caller wants no more."""
    command, pipe, line = bench.command(toolkit, *arguments), subprocess.PIPE, ""
    process = subprocess.Popen(
        command, env=bench.environment(toolkit), stdout=pipe, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    assert process.stdout
    try:
        for line in process.stdout:
            yield line
        if process.wait():
            sys.exit(f"{' '.join(command)}: failed: {line}")
    finally:
        process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a YAML file of JoeyNMT or of this project")
    parser.add_argument("--goal", type=float, default=33.0, help="dev BLEU (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60.0, help="the longest time to train (default: %(default)s)")
    parser.add_argument("--corpus", type=Path, default=Path("data/multi30k"), help="raw text (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("build/peers"), help="of the peers (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    args = parser.parse_args()

    # an empty folder
    bench, corpus = Bench(args.folder.absolute(), args.threads), args.corpus.absolute()
    folder = bench.folder / "quality" / args.config.stem
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kind = JoeyNMT if "joeynmt_version" in args.config.read_text(encoding="utf-8") else Seq2Seq
    toolkit = kind(bench, args.config, corpus, folder)

    # train
    validations = []
    for validation in toolkit.train():
        print(json.dumps(validation._asdict(), default=str), flush=True)
        validations.append(validation)
        if validation.greedy > args.goal + 1 or validation.seconds > 60 * args.minutes:
            break

    # translate with beam search
    texts, references = ((corpus / f"val.{name}").read_text(encoding="utf-8").splitlines() for name in ("de", "en"))
    for validation in validations:
        if validation.greedy > args.goal - GAIN:
            bleu = sacrebleu.corpus_bleu(toolkit.translate(validation.checkpoint, texts), [references]).score
            print(json.dumps({"update": validation.update, "beam 5": bleu}), flush=True)
            if bleu >= args.goal:
                times = f"{validation.seconds:.0f} s, {validation.training:.0f} s without validations"
                print(f"{args.config.name}: dev BLEU {bleu:.2f} after {validation.update:,} updates, {times}")
                return
    sys.exit(f"{args.config.name}: dev BLEU {args.goal} not reached in {len(validations)} validations")


if __name__ == "__main__":
    main()
