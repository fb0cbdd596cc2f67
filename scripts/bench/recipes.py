"""Train a recurrent recipe of JoeyNMT or OpenNMT-py on a corpus, and score its translations as ours are scored.

    python scripts/bench/recipes.py scripts/bench/peers/joeynmt_recipe.yaml data/everyday ko en --pieces 2000

The corpus is CORPUS.train.ko, CORPUS.train.en and so on, with `dev` and `test`. The text is cut into the pieces of one
SentencePiece model for each language, and translations are joined again; so the recipe is all that differs. Every
checkpoint translates dev with beam 5; the one with the highest chrF translates test.
"""

import argparse
import json
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import sacrebleu
import yaml
from peers import Bench
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

SPLITS = ("train", "dev", "test")


def cut(corpus: Path, languages: tuple[str, str], pieces: int, folder: Path) -> dict[str, SentencePieceProcessor]:
    """Write the corpus in pieces and the vocabularies into a folder; return a model for each language."""
    models = {}
    for side, language in zip(("src", "tgt"), languages, strict=True):
        SentencePieceTrainer.train(
            input=f"{corpus}.train.{language}",
            model_prefix=str(folder / side),
            vocab_size=pieces,
            character_coverage=1.0,
            minloglevel=3,
        )
        model = models[side] = SentencePieceProcessor(model_file=str(folder / f"{side}.model"))
        write(folder / f"vocab.{side}", (model.id_to_piece(i) for i in range(3, len(model))))  # after <unk>, <s>, </s>
        for split in SPLITS:
            lines = lines_of(Path(f"{corpus}.{split}.{language}"))
            write(folder / f"{split}.{side}", (" ".join(model.encode(line, out_type=str)) for line in lines))
    return models


class JoeyNMT:
    """A training of JoeyNMT; the folder has the corpus."""

    def __init__(self, bench: Bench, config: Path, folder: Path):
        self.bench, self.folder, self.config = bench, folder, yaml.safe_load(config.read_text(encoding="utf-8"))
        self.config |= {"model_dir": str(folder / "model")}
        self.config["data"] |= {split: str(folder / split) for split in ("train", "dev")}
        for side, language in (("src", "src"), ("trg", "tgt")):
            self.config["data"][side] |= {"lang": language, "voc_file": str(folder / f"vocab.{language}")}

    def train(self) -> list[Path]:
        """Train to the end; return the checkpoints."""
        self.bench.run("joeynmt", "-m", "joeynmt_today", "train", "--skip-test", self._file())
        return sorted(path for path in (self.folder / "model").glob("*.ckpt") if path.stem.isdigit())

    def translate(self, checkpoint: Path, source: Path) -> list[str]:
        """Translate lines of pieces with the beam of the recipe."""
        self.config["testing"]["load_model"] = str(checkpoint)
        command = ("-m", "joeynmt_today", "translate", self._file())
        return self.bench.run("joeynmt", *command, given=source.read_text(encoding="utf-8"))[0].splitlines()

    def _file(self) -> Path:
        file = self.folder / "config.yaml"
        file.write_text(yaml.safe_dump(self.config), encoding="utf-8")
        return file


class OpenNMT:
    """A training of OpenNMT-py; the folder has the corpus."""

    def __init__(self, bench: Bench, config: Path, folder: Path):
        self.bench, self.folder, self.config = bench, folder, yaml.safe_load(config.read_text(encoding="utf-8"))
        sides = {name: {f"path_{side}": str(folder / f"{name}.{side}") for side in ("src", "tgt")} for name in SPLITS}
        self.config |= {"data": {"corpus": sides["train"], "valid": sides["dev"]}}
        self.config |= {f"{side}_vocab": str(folder / f"vocab.{side}") for side in ("src", "tgt")}
        self.config |= {"save_model": str(folder / "model"), "keep_checkpoint": -1}

    def train(self) -> list[Path]:
        """Train to the end; return the checkpoints."""
        file = self.folder / "config.yaml"
        file.write_text(yaml.safe_dump(self.config), encoding="utf-8")
        self.bench.run("opennmt", "-m", "onmt.bin.train", "-config", file)
        return sorted(self.folder.glob("model_step_*.pt"), key=lambda path: path.stat().st_mtime)

    def translate(self, checkpoint: Path, source: Path) -> list[str]:
        """Translate lines of pieces with beam 5 and the length penalty of Wu et al. (2016)."""
        output = self.folder / "output"
        options = "-beam_size 5 -batch_size 64 -batch_type sents -max_length 100 -length_penalty wu -alpha 0.6"
        files = ("-model", checkpoint, "-src", source, "-output", output)
        self.bench.run("opennmt", "-m", "onmt.bin.translate", *options.split(), *files)
        return lines_of(output)


def lines_of(path: Path) -> list[str]:
    """Read the lines of a file."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def write(path: Path, lines: Iterable[str]) -> None:
    """Write lines to a file."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def join(line: str) -> str:
    """Return the text of a line of pieces."""
    return line.replace(" ", "").replace("▁", " ").strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="a YAML file of JoeyNMT or OpenNMT-py")
    parser.add_argument("corpus", type=Path, help="the beginning of its six file names")
    parser.add_argument("languages", nargs=2, metavar="LANGUAGE", help="the source's and the target's")
    parser.add_argument("--pieces", type=int, default=2000, help="of each language (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("build/peers"), help="of the peers (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    args = parser.parse_args()

    # an empty folder, and the corpus in it
    bench = Bench(args.folder.absolute(), args.threads)
    folder = bench.folder / "recipes" / "-".join([args.recipe.stem, args.corpus.name, *args.languages])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cut(args.corpus.absolute(), tuple(args.languages), args.pieces, folder)
    references = {split: lines_of(Path(f"{args.corpus}.{split}.{args.languages[1]}")) for split in SPLITS}

    # train
    kind = JoeyNMT if "joeynmt_version" in args.recipe.read_text(encoding="utf-8") else OpenNMT
    toolkit = kind(bench, args.recipe, folder)
    start = time.perf_counter()
    checkpoints = toolkit.train()
    minutes = (time.perf_counter() - start) / 60

    # choose a checkpoint on dev; measure it on test
    def score(checkpoint: Path, split: str) -> dict[str, float]:
        texts = [join(line) for line in toolkit.translate(checkpoint, folder / f"{split}.src")]
        measures = (sacrebleu.corpus_chrf, sacrebleu.corpus_bleu)
        found = [measure(texts, [references[split]]) for measure in measures]
        return {each.name: round(each.score, 2) for each in found}

    dev = {checkpoint: score(checkpoint, "dev") for checkpoint in checkpoints}
    best = max(dev, key=lambda checkpoint: dev[checkpoint]["chrF2"])
    found = {"dev": dev[best], "test": score(best, "test")}
    print(json.dumps({"recipe": args.recipe.stem, "checkpoint": best.name, "minutes": round(minutes, 1)} | found))


if __name__ == "__main__":
    main()
