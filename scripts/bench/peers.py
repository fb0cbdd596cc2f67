"""Measure the speed of this project, JoeyNMT 2.3.0 and OpenNMT-py 3.5.1, in turn, with the same model and corpus.

    python scripts/bench/peers.py setup                make the environments of the peers (peers_setup.sh)
    python scripts/bench/peers.py data --corpus DIR    make the corpus from Multi30k's *.lc.norm.tok.{de,en}
    python scripts/bench/peers.py train-speed          measure target tokens a second in training
    python scripts/bench/peers.py models               train a model of each, for the next command
    python scripts/bench/peers.py translate-speed      measure seconds for the 1,000 lines of test_2016_flickr
    python scripts/bench/peers.py table                print everything in one table

The model is LUONG-256 (peers/*.yaml): one LSTM layer of 256 units a side, Luong's `general` attention, no dropout. The
corpus is Multi30k de-en with the words that train has at least twice, 7,855 German and 5,917 English. All files are
written into the folder `--folder`, figures as JSON.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import harmonic_mean
from typing import Any, NamedTuple

import sacrebleu
import yaml
from table import Row, keep, machine_and_commit, table

HERE = Path(__file__).resolve().parent
PACKAGES = {"seq2seq": "seq2seq-attention", "opennmt": "OpenNMT-py", "joeynmt": "joeynmt"}
WINDOWS = 5  # reports of its speed that a training makes; the first is warm-up and not used


@dataclass(frozen=True)
class Bench:
    """The folder of all files, and the number of threads of all toolkits."""

    folder: Path
    threads: int
    precision: str = "auto"  # of this project
    switch: bool = False  # whether torch's switch to oneDNN is set for the peers

    @property
    def suffix(self) -> str:
        """Return the end of the names of the results."""
        return f"-{self.precision}{'-switch' if self.switch else ''}"

    def command(self, toolkit: str, *arguments: object) -> list[str]:
        """Return the command that runs the Python of a toolkit's environment."""
        python = sys.executable if toolkit == "seq2seq" else self.folder / toolkit / "bin" / "python"
        return [str(python), *map(str, arguments)]

    def environment(self, toolkit: str) -> dict[str, str]:
        """Return the environment variables of a toolkit."""
        threads, modules = str(self.threads), HERE.parents[1] if toolkit == "seq2seq" else self.folder / "stubs"
        ours = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONPATH": str(modules)}
        ours |= {"ONEDNN_SWITCH": "1"} if self.switch and toolkit != "seq2seq" else {}
        return os.environ | ours | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}  # OpenNMT-py reads its own pickles

    def run(self, toolkit: str, *arguments: object, given: str = "") -> tuple[str, str, float]:
        """Run a command, which must succeed; return its standard output, its standard error, and its seconds."""
        command, environment = self.command(toolkit, *arguments), self.environment(toolkit)
        start = time.perf_counter()
        done = subprocess.run(
            command, cwd=self.folder, env=environment, input=given, capture_output=True, encoding="utf-8"
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)}: failed\n{done.stderr[-2000:]}")
        return done.stdout, done.stderr, time.perf_counter() - start

    def model(self, toolkit: str, input_feeding: bool) -> Path:
        """Return the path of a trained model: the run folder; for OpenNMT-py the beginning of its file name."""
        return self.folder / "models" / f"{toolkit}_luong256{'_feeding' if input_feeding else ''}"


def _train_seq2seq(bench: Bench, path: Path, input_feeding: bool, updates: int, seed: int) -> list[float]:
    shutil.rmtree(path, ignore_errors=True)
    keys = f"seed={seed} training.max_updates={updates} model.decoder.input_feeding={str(input_feeding).lower()}"
    keys += f" training.validate_every={10 * updates // WINDOWS}"  # it reports ten times as often
    keys += f" training.precision={bench.precision}"
    bench.run("seq2seq", "-m", "seq2seq", "train", HERE / "peers/seq2seq.yaml", "--run", path, *keys.split())
    records = map(json.loads, (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [record["tokens_per_second"] for record in records if record["split"] == "train"]


def _train_opennmt(bench: Bench, path: Path, input_feeding: bool, updates: int, seed: int) -> list[float]:
    options = f"-seed {seed} -input_feed {int(input_feeding)} -train_steps {updates} -report_every {updates // WINDOWS}"
    options += f" -valid_steps {updates + 1} -save_checkpoint_steps 0"  # it saves at the end
    files = ("-config", HERE / "peers/opennmt.yaml", "-save_model", path)
    _, log, _ = bench.run("opennmt", "-m", "onmt.bin.train", *options.split(), *files)
    return [float(rate) for rate in re.findall(r"/ *(\d+) tok/s", log)]


def _train_joeynmt(bench: Bench, path: Path, input_feeding: bool, updates: int, seed: int) -> list[float]:
    config = yaml.safe_load((HERE / "peers/joeynmt.yaml").read_text(encoding="utf-8"))
    every = updates // WINDOWS
    config |= {"model_dir": str(path), "random_seed": seed}
    config["training"] |= {"updates": updates, "logging_freq": every, "validation_freq": every * updates}
    config["model"]["decoder"]["input_feeding"] = input_feeding
    file = path.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    _, log, _ = bench.run("joeynmt", "-m", "joeynmt_today", "train", "--skip-test", file)
    return [float(rate) for rate in re.findall(r"Tokens per Sec: +(\d+)", log)]


# Train into a path; return real target tokens a second, `</s>` and data loading included, in each of WINDOWS.
TRAIN = {"seq2seq": _train_seq2seq, "opennmt": _train_opennmt, "joeynmt": _train_joeynmt}


class Translated(NamedTuple):
    """Seconds to translate the test set with beam 5, batches of 64, no length penalty and at most 100 tokens."""

    command: float  # the whole command, with the start of the process
    search: float  # the search alone, as the toolkit reports it


def _translate_seq2seq(bench: Bench, model: Path, output: Path) -> Translated:
    """Time `translate`, which does not report its search; `evaluate` translates the same lines and does."""
    command = ("seq2seq", "-m", "seq2seq", "translate", model, "--input", "data/test.de", "--output", output)
    _, _, seconds = bench.run(*command, "--no-split", "--precision", bench.precision)
    return Translated(seconds, _search_seq2seq(bench, model, "--exact")[0])


def _search_seq2seq(bench: Bench, model: Path, how: str) -> tuple[float, float]:
    """Return the seconds and the BLEU of our search, with `--exact` or `--shortlist`."""
    options = f"{how} --src data/test.de --ref data/test.en --tokenize none --json --precision {bench.precision}"
    found, _, _ = bench.run("seq2seq", "-m", "seq2seq", "evaluate", model, *options.split())
    evaluation = json.loads(found)
    return evaluation["seconds"], evaluation["bleu"]["score"]


def _translate_opennmt(bench: Bench, model: Path, output: Path) -> Translated:
    newest = max(model.parent.glob(f"{model.name}_step_*.pt"), key=lambda path: path.stat().st_mtime)
    options = "-beam_size 5 -batch_size 64 -batch_type sents -max_length 100 -max_length_ratio 0 -length_penalty none"
    files = ("-report_time", "-model", newest, "-src", "data/test.de", "-output", output)
    _, log, seconds = bench.run("opennmt", "-m", "onmt.bin.translate", *options.split(), *files)
    return Translated(seconds, float(re.findall(r"Total translation time \(s\): ([\d.]+)", log)[0]))


def _translate_joeynmt(bench: Bench, model: Path, output: Path) -> Translated:
    command = ("joeynmt", "-m", "joeynmt_today", "translate", model.with_suffix(".yaml"))
    printed, log, seconds = bench.run(*command, given=(bench.folder / "data/test.de").read_text(encoding="utf-8"))
    output.write_text(printed, encoding="utf-8")
    return Translated(seconds, float(re.findall(r"Generation took ([\d.]+)", log)[0]))


# Translate the test set with a model of `models` into a file.
TRANSLATE = {"seq2seq": _translate_seq2seq, "opennmt": _translate_opennmt, "joeynmt": _translate_joeynmt}


def setup(bench: Bench, args: argparse.Namespace) -> None:
    """Make the environments of the peers."""
    subprocess.run([HERE / "peers_setup.sh", bench.folder], check=True)


def data(bench: Bench, args: argparse.Namespace) -> None:
    """Write the corpus and the vocabularies, one word a line; a word that train has once is `<unk>` in train."""
    folder = bench.folder / "data"
    for name in ("data", "models", "runs"):
        (bench.folder / name).mkdir(parents=True, exist_ok=True)
    for language in ("de", "en"):
        splits = [f"{split}.lc.norm.tok.{language}" for split in ("train", "val", "test_2016_flickr")]
        train, val, test = ((args.corpus / name).read_text(encoding="utf-8").split("\n")[:-1] for name in splits)
        counts = Counter(word for line in train for word in line.split())
        known = sorted((word for word in counts if counts[word] > 1), key=lambda word: (-counts[word], word))
        train = [" ".join(word if counts[word] > 1 else "<unk>" for word in line.split()) for line in train]
        for name, lines in {"vocab": known, "train": train, "val": val, "small": val[:64], "test": test[:1000]}.items():
            (folder / f"{name}.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
        print(f"{language}: {len(known):,} words, {counts.total() + len(train):,} tokens an epoch, </s> included")


def models(bench: Bench, args: argparse.Namespace) -> None:
    """Train a model of each toolkit, long enough for translations of normal length."""
    for toolkit in args.toolkits:
        path = bench.model(toolkit, args.input_feeding)
        TRAIN[toolkit](bench, path, args.input_feeding, args.updates, 1)
        print(f"{toolkit}: {path}", flush=True)


def train_speed(bench: Bench, args: argparse.Namespace) -> None:
    """Measure target tokens a second in training, without and with input feeding."""
    rates: dict[bool, dict[str, list[float]]] = {mode: {name: [] for name in args.toolkits} for mode in (False, True)}
    for seed in range(1, args.rounds + 1):
        for feeding, of_mode in rates.items():
            for toolkit, values in of_mode.items():
                windows = TRAIN[toolkit](bench, bench.folder / "runs" / toolkit, feeding, args.updates, seed)
                assert len(windows) == WINDOWS, windows
                values.append(harmonic_mean(windows[1:]))
    modes = {False: "training, target tokens a second", True: "the same with input feeding"}
    rows = [Row(measure, rates[mode], ",.0f", "more") for mode, measure in modes.items()]
    keep(bench.folder, f"train-speed{bench.suffix}", about(bench, args) | {"updates of a run": args.updates}, rows)


def translate_speed(bench: Bench, args: argparse.Namespace) -> None:
    """Measure the seconds to translate the test set with the models of `models`, and the tokens and BLEU."""
    # translate in turn
    found: dict[str, list[Translated]] = {toolkit: [] for toolkit in args.toolkits}
    listed, listed_bleu = [], 0.0
    for _ in range(args.rounds):
        for toolkit, runs in found.items():
            model = bench.model(toolkit, args.input_feeding)
            runs.append(TRANSLATE[toolkit](bench, model, bench.folder / f"test.{toolkit}"))
        seconds, listed_bleu = _search_seq2seq(bench, bench.model("seq2seq", args.input_feeding), "--shortlist")
        listed.append(seconds)

    # keep the figures
    search = {toolkit: [run.search for run in runs] for toolkit, runs in found.items()}
    command = {toolkit: [run.command for run in runs] for toolkit, runs in found.items()}
    tokens, bleu = ({toolkit: [what(bench, toolkit)] for toolkit in found} for what in (_tokens, _bleu))
    rows = [
        Row("search for 1,000 sentences, s", search),
        Row("the same, ours in a shortlist, s", search | {"seq2seq": listed}),
        Row("whole command, s", command),
        Row("tokens put out", tokens, ",.0f", ""),
        Row("BLEU, tokens as they stand", bleu, ".1f", ""),
        Row("BLEU, ours in a shortlist", {"seq2seq": [listed_bleu]}, ".1f", ""),
    ]
    keep(bench.folder, f"translate-speed{bench.suffix}", about(bench, args), rows)


def _lines(bench: Bench, name: str) -> list[str]:
    return (bench.folder / name).read_text(encoding="utf-8").splitlines()


def _tokens(bench: Bench, toolkit: str) -> float:
    """Count the tokens that a toolkit has written, `</s>` included."""
    return sum(len(line.split()) + 1 for line in _lines(bench, f"test.{toolkit}"))


def _bleu(bench: Bench, toolkit: str) -> float:
    written, references = _lines(bench, f"test.{toolkit}"), _lines(bench, "data/test.en")
    return sacrebleu.corpus_bleu(written, [references], tokenize="none", force=True).score


def show(bench: Bench, args: argparse.Namespace) -> None:
    """Print everything that was measured as one table, and keep it in the folder."""
    text = table(bench.folder)
    (bench.folder / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def about(bench: Bench, args: argparse.Namespace) -> dict[str, Any]:
    """Return how something was measured."""
    code = "import sys; from importlib.metadata import version; print(*(f'{n} {version(n)}' for n in sys.argv[1:]))"
    versions = ", ".join(bench.run(each, "-c", code, PACKAGES[each], "torch")[0].strip() for each in args.toolkits)
    return {"rounds": args.rounds, "threads": bench.threads} | machine_and_commit() | {"versions": versions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = {"setup": setup, "data": data, "train-speed": train_speed, "models": models}
    commands |= {"translate-speed": translate_speed, "table": show}
    names = ["opennmt", "joeynmt"]
    parser.add_argument("command", choices=commands)
    parser.add_argument("--folder", type=Path, default=Path("build/peers"), help="for all files (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="for every toolkit (default: %(default)s)")
    parser.add_argument("--peers", nargs="*", choices=names, default=names, help="to measure beside this project")
    parser.add_argument("--corpus", type=Path, default=Path("data/multi30k"), help="for data (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="for *-speed (default: %(default)s)")
    parser.add_argument("--updates", type=int, help="of a training, a multiple of 5 (default: 250; for models 1500)")
    parser.add_argument(
        "--precision", default="auto", help="of this project: auto, fp32 or bf16 (default: %(default)s)"
    )
    parser.add_argument("--switch", action="store_true", help="let the peers multiply by oneDNN too, in bf16 if it can")
    parser.add_argument("--input-feeding", action="store_true", help="for models and translate-speed")
    args = parser.parse_args()
    args.toolkits = ["seq2seq", *args.peers]
    args.updates = args.updates or (1500 if args.command == "models" else 250)
    if args.updates % WINDOWS:
        parser.error(f"--updates is {args.updates}; it must be a multiple of {WINDOWS}")
    commands[args.command](Bench(args.folder.absolute(), args.threads, args.precision, args.switch), args)


if __name__ == "__main__":
    main()
