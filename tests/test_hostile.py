"""Hostile data: one fault of each kind through every command; `test_corpus` has every fault and every reader.

A fault is either an error (one line that names the file, the line and the fix; exit code 2) or it is handled, and what
was handled is counted. `docs/data.md` is the table of these tests.
"""

import io
import json
import logging
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import faults
import pytest
from faults import before_the_first, largest_file, mistake, rows_as, without_permission, write_lines, write_pairs
from tiny import write_config

from seq2seq.commands.main import main
from seq2seq.data import dataset, store
from seq2seq.decoding import engine
from seq2seq.decoding.engine import LONGEST
from seq2seq.decoding.forced import score
from seq2seq.decoding.translator import Translator
from seq2seq.doctor import selftest
from seq2seq.evaluation.evaluate import evaluate
from seq2seq.runs.exporting import export_run
from seq2seq.runs.run import Run

SOURCES = [src.encode() for src, _ in faults.ROWS]
SHORT = {"max_updates": 2, "validate_every": 2}
CUT = "cut {} after 2,000 tokens; write a sentence a line"
full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run."""
    folder = tmp_path_factory.mktemp("hostile")
    config = write_config(folder, training={"max_updates": 60, "validate_every": 20})
    assert main(["train", str(config), "--run", str(folder / "run")]) == 0
    return str(folder / "run")


@pytest.fixture
def spare(run, tmp_path):
    """A copy of the run, to be damaged."""
    return Path(shutil.copytree(run, tmp_path / "spare"))


@pytest.fixture
def refused(capsys):
    """Runs a command that must fail as the user's mistake, in one line in which all of these stand."""

    def refused(arguments, *needed, while_=None):
        capsys.readouterr()
        with while_ or nullcontext():
            code = main([str(argument) for argument in arguments])
        said = capsys.readouterr().err
        assert code == 2, said
        assert said.startswith("seq2seq: error: ")
        assert len(said.splitlines()) == 1, said
        assert all(str(part) in said for part in needed), (said, needed)

    return refused


@pytest.fixture
def accepted(capsys):
    """Runs a command that must not fail; returns what it has printed."""

    def accepted(arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return accepted


# ------------------------------------------------------------------------------------------------------------- pairs


def commands_on(config, folder):
    """The commands that read the config and the training pairs."""
    return {
        "train": ["train", config, "--run", folder],
        "check": ["check", config],
        "bench": ["bench", config, "--updates", "1"],
        "compare": ["compare", config, "--vary", "search.beam=1,2", "--seeds", "1", "--run", folder],
    }


def pairs_at_fault(folder):
    """Pairs with a fault of each kind, in a folder each, and what must be said."""
    (src, tgt), (table, _) = rows_as("en", faults.ROWS), rows_as("tsv", faults.ROWS)
    for name, reader, lines, other, says in (
        ("a line", "en", faults.LINES["bad UTF-8"][0](src), tgt, ":3: byte 10"),
        ("a row", "tsv.gz", [*table, b"a\tb\tc"], None, ":41: 3 tab-separated cells"),
        ("a side", "en", [*src, b"more"], tgt, " has 41 lines but "),
        ("a file", "tsv", [], None, ": empty; a corpus needs at least"),
    ):
        (folder / name).mkdir()
        yield folder / name, f"{write_pairs(folder / name, reader, lines, other)}{says}"


@pytest.mark.parametrize("command", ["train", "check", "bench", "compare", "train on dev"])
def test_every_command_that_reads_pairs_refuses_a_fault_of_each_kind(tmp_path, refused, command):
    for folder, says in pairs_at_fault(tmp_path):
        split = "dev" if command == "train on dev" else "train"
        config = write_config(folder, data={split: str(folder / "pairs")})
        refused(commands_on(config, folder / "run")[command.split()[0]], says)
        assert not (folder / "run" / "config.yaml").exists()


def test_nothing_but_blank_lines_or_lines_of_10_mb_is_an_error(tmp_path, refused):
    for lines in ([b" \t\xe2\x80\xa8"], [b"x" * 10_000_000 + b"\tdie"]):
        file = write_pairs(tmp_path, "tsv", lines)
        refused(["check", write_config(tmp_path, data={"train": str(file)})], "every line of the training corpus is bl")


# ---------------------------------------------------------------------------------------------- what is only cleaned


def test_a_pair_is_counted_once_and_a_training_and_a_check_say_so(tmp_path, accepted):
    rows = [("a\0", "b\0"), ("a", "b\0"), ("\0", "b"), ("a " * 200 + "\0", "b"), *faults.ROWS]
    write_pairs(tmp_path, "tsv", *rows_as("tsv", rows))
    config = write_config(tmp_path, data={"train": str(tmp_path / "pairs")}, training=SHORT)
    said = "kept 42 of 44 pairs; dropped 1 blank and 1 longer than 100 tokens; cleaned 4 with control or broken"
    assert f"training pairs: {said}" in accepted(["train", config, "--run", tmp_path / "run"])
    assert said in accepted(["check", config])


def test_strange_characters_in_lines_to_translate_are_cleaned_and_move_no_line(run, tmp_path, accepted):
    texts = faults.STRANGE | faults.ORDINARY
    clean = write_lines(tmp_path, "clean", [b"old dog", *(text.encode() for text in texts.values())])
    lines = [b"\xef\xbb\xbfold dog", *(text.encode() for text in texts)]
    strange = write_lines(tmp_path, "strange", [line + b"\r" for line in lines])
    for command in ("translate", "attention json"):
        assert accepted(reading(command, run, strange, None)) == accepted(reading(command, run, clean, None))
    scores = [accepted(reading("score --tgt", run, *files)) for files in ((strange, clean), (clean, strange))]
    assert scores[0] == scores[1]


def test_a_lone_surrogate_in_python_is_cleaned(run):
    translator = Translator.load(run)
    assert translator.translate(["the \ud800 cat\udfff"]) == translator.translate(["the \ufffd cat\ufffd"])
    assert score(translator, ["the \udc00"], ["die \ud800"]) == score(translator, ["the \ufffd"], ["die \ufffd"])


# --------------------------------------------------------------------------------------------------- a line of 10 MB

MEGABYTES = 10_000_000
LONG = {"words": "the cat " * (MEGABYTES // 8)} | {text: text * MEGABYTES for text in "x \0"}


def test_a_long_dev_line_neither_stops_a_training_nor_counts_in_its_loss(tmp_path, accepted, caplog):
    long = "the cat " * LONGEST
    write_pairs(tmp_path, "en", *rows_as("en", [(long, "die"), ("the", long), *faults.ROWS]))
    data = {"dev": str(tmp_path / "pairs"), "test": None}
    config = write_config(tmp_path, data=data, training=SHORT, search={"beam": 1, "max_length": 10})
    with caplog.at_level(logging.WARNING, "seq2seq"):
        accepted(["train", config, "--run", tmp_path / "run"])
    assert CUT.format("1 line") in caplog.messages
    losses = [json.loads(line).get("loss") for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < loss < 20 for loss in losses)


@pytest.fixture
def short_translations(monkeypatch):
    """Searches end early, so that tests of long lines do not take long."""
    real = engine.Limits
    monkeypatch.setattr(engine, "Limits", lambda b, e, f, most, rules: real(b, e, f, most.clamp(max=20), rules))


def test_lines_of_10_mb_are_cut_and_translated_in_their_place(run, tmp_path, accepted, caplog, short_translations):
    short = write_lines(tmp_path, "short", [b"the cat", b"old dog"])
    long = write_lines(tmp_path, "long", [b"the cat", *(text.encode() for text in LONG.values()), b"old dog"])
    with caplog.at_level(logging.WARNING, "seq2seq"):
        lines = accepted(["translate", run, "--input", long]).split("\n")
    assert len(lines) == len(LONG) + 3
    assert [lines[0], *lines[-2:]] == accepted(["translate", run, "--input", short]).split("\n")
    assert [bool(line) for line in lines[1:-2]] == [name not in " \0" for name in LONG]
    assert caplog.messages[0] == CUT.format("2 lines")
    assert all(message.startswith("unsure (") for message in caplog.messages[1:])


def test_a_line_of_as_many_tokens_as_are_allowed_is_whole_and_one_more_is_cut(run, caplog, short_translations):
    translator = Translator.load(run)
    with caplog.at_level(logging.WARNING, "seq2seq"):
        (whole,) = translator.translate(["cat " * LONGEST], attention=False)
        assert caplog.messages == []
        (cut,) = translator.translate(["cat " * (LONGEST + 1)], attention=False)
    assert whole == cut
    assert len(whole.source_tokens) == LONGEST + 1  # with </s>
    assert caplog.messages == [CUT.format("1 line")]


def test_evaluate_cuts_a_source_and_a_reference_of_10_mb(run, caplog, short_translations):
    with caplog.at_level(logging.WARNING, "seq2seq"):
        found = evaluate(Translator.load(run), [LONG["words"], "the cat"], [["die Katze", LONG["words"]]])
    assert found.references == [["die Katze", " ".join(["the cat"] * (LONGEST // 2))]]
    cut = [CUT.format("1 line"), "cut 1 reference after 2,000 words"]
    assert sorted(caplog.messages) == cut


def test_no_score_is_given_for_a_part_of_a_line_of_10_mb(run, tmp_path, refused):
    short, long = write_lines(tmp_path, "short", [b"cat"]), write_lines(tmp_path, "long", [LONG["words"].encode()])
    for src, tgt, side in ((long, short, "source"), (short, long, "target")):
        says = f"{src} with {tgt}: line 1 of the {side} has more than 2,000 tokens; split it into sentences"
        refused(["score", run, "--src", src, "--tgt", tgt], says)


def test_attention_to_a_line_of_10_mb_is_to_its_beginning(run, tmp_path, accepted, short_translations):
    file = write_lines(tmp_path, "in", [LONG["words"].encode(), b"the cat"])
    out = accepted(reading("attention json", run, file, None))
    assert [len(json.loads(line)["columns"]) for line in out.splitlines()] == [LONGEST + 1, 3]


# ------------------------------------------------------------------------- lines to translate, to measure, to score


def reading(command, run, file, other):
    """A command that reads a file of lines."""
    return {
        "translate": ["translate", run, "--input", file],
        "attention json": ["attention", run, "--input", file, "--json"],
        "evaluate --src": ["evaluate", run, "--src", file, "--ref", other],
        "evaluate --ref": ["evaluate", run, "--src", other, "--ref", file],
        "score --src": ["score", run, "--src", file, "--tgt", other],
        "score --tgt": ["score", run, "--src", other, "--tgt", file],
    }[command]


ON_LINES = ["translate", "attention json"]
ON_TWO_FILES = ["evaluate --src", "evaluate --ref", "score --src", "score --tgt"]
EVERY = [("translate", "lines", fault) for fault in (*faults.LINES, "a folder")]
EVERY += [("translate", "lines.gz", fault) for fault in (*faults.LINES, *faults.FILES)]
EVERY += [(command, "lines", fault) for command in (*ON_LINES, *ON_TWO_FILES) for fault in ("missing", "no permission")]
EVERY += [(command, "lines", "bad UTF-8") for command in (*ON_LINES[1:], *ON_TWO_FILES)]
EVERY += [(command, "lines.gz", "cut short") for command in (*ON_LINES[1:], *ON_TWO_FILES)]


@pytest.mark.parametrize(("command", "name", "fault"), EVERY)
def test_lines_at_fault_are_an_error_that_names_file_line_and_fix(run, tmp_path, refused, command, name, fault):
    other, kept = write_lines(tmp_path, "other", SOURCES), write_lines(tmp_path, "kept", [b"kept"])
    file = write_lines(tmp_path, name, faults.LINES[fault][0](SOURCES) if fault in faults.LINES else SOURCES)
    arguments, while_ = reading(command, run, file, other), None
    if command in ON_LINES:
        arguments += ["--output", kept]
        kept.chmod(0o666)
    if fault in faults.LINES:
        needed = [f"{file}{faults.LINES[fault][1]}"]
    elif fault == "missing":
        file.unlink()
        needed = [f"{file}: ", "No such file or directory; give a file that can be"]
    elif fault == "no permission":
        while_ = without_permission(file, places=[run])
        needed = [f"{file}: ", "Permission denied; give a file that can be"]
    else:
        faults.FILES[fault][0](file)
        needed = [f"{file}: ", faults.FILES[fault][1].removeprefix("cannot be read: ")]
    refused(arguments, *needed, while_=while_)
    assert kept.read_bytes() == b"kept\n"


def test_a_fault_far_into_the_input_leaves_the_output_up_to_there(run, tmp_path, refused):
    file, out = write_lines(tmp_path, "lines", [*[b"the cat"] * 600, b"\xff"]), tmp_path / "out"
    refused(["translate", run, "--input", file, "--output", out, "--batch-size", "8"], f"{file}:601: byte 1")
    written = out.read_text().splitlines()
    assert 0 < len(written) <= 600
    assert len(set(written)) == 1


def test_files_of_different_length_are_an_error(run, tmp_path, refused):
    file, other = write_lines(tmp_path, "lines", SOURCES), write_lines(tmp_path, "other", SOURCES[:-1])
    for command in ON_TWO_FILES:
        refused(reading(command, run, file, other), f"{file}:40 has no partner; line n of one must translate line n")


def test_empty_files_are_nothing_to_measure_but_nothing_to_complain_of_elsewhere(run, tmp_path, refused, accepted):
    file, other = write_lines(tmp_path, "lines", []), write_lines(tmp_path, "other", [])
    refused(reading("evaluate --src", run, file, other), f"{file}: empty; there is nothing to measure")
    for command in (*ON_LINES, "score --src"):
        assert accepted(reading(command, run, file, other)) == ""


def test_standard_input_at_fault_is_an_error_that_names_the_line(run, monkeypatch, refused):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the cat\nab\xff\n")))
    refused(["translate", run], "standard input:2: byte 3", "is not UTF-8; convert the file to UTF-8")


# ---------------------------------------------------------------------------------- the config, and the run folder


@pytest.mark.parametrize("command", ["train", "check", "bench", "compare"])
def test_every_command_refuses_a_config_or_word_vectors_at_fault(tmp_path, refused, run, command):
    file = tmp_path / "a.yaml"
    arguments = commands_on(file, tmp_path / "run")[command]
    refused(arguments, f"{file}: No such file or directory")
    file.write_bytes(b"seed: 1\nseed: 2\n")
    refused(arguments, f"{file}:2: the key seed appears twice")
    file.write_bytes(b"data: " + b"[" * 2000)
    refused(arguments, f"{file}:1: nested too deep; docs/config.md explains every key")
    refused(arguments, f"{file}: Permission denied", while_=without_permission(file))
    for lines, says in (
        ([b"24 24", b"dog" + b" 0.5" * 23], "{}: not a file of word vectors: 1 of 1 lines are odd"),
        ([b"cat 1 2 3"], "{}, with vectors of 3 numbers; set model.embedding_size to 3 (it is 24)"),
    ):
        vectors = write_lines(tmp_path, "vectors", lines)
        config = write_config(tmp_path, model={"pretrained_embeddings": {"src": str(vectors)}})
        if command != "bench":  # it measures speed: any numbers do
            refused(commands_on(config, tmp_path / "run")[command], says.format(vectors))


def test_a_damaged_file_of_a_run_or_one_that_may_not_be_read_is_named(spare):
    for name, content, says in (
        ("config.yaml", b"data: [", "config.yaml:1: "),
        ("config.yaml", b"\xff", "config.yaml:1: this is not UTF-8 text"),
        ("tokenizer/joint.txt", b"\xff\xfe", "tokenizer/joint.txt: "),
        ("tokenizer/tokenizer.json", b"[" * 100_000, "tokenizer/tokenizer.json: "),
    ):
        whole = (spare / name).read_bytes()
        (spare / name).write_bytes(content)
        assert f"{spare}/{says}" in mistake(Translator.load, spare)
        (spare / name).write_bytes(whole)
        with without_permission(spare / name):
            assert str(spare / name) in mistake(Translator.load, spare)


def test_every_command_on_a_run_names_its_damaged_file(spare, tmp_path, refused):
    (spare / "tokenizer" / "joint.txt").write_bytes(b"")
    lines = write_lines(tmp_path, "lines", SOURCES)
    for command in ("evaluate", "translate", "score", "attention", "plot --attention", "compare", "bench"):
        refused(on_run(command, spare, lines), f"{spare}/tokenizer/joint.txt: ")


def test_damaged_metrics_are_named_with_their_line(spare, refused, accepted):
    content = (spare / "metrics.jsonl").read_bytes()
    first, _, *others = content.split(b"\n")
    for line, says in (
        (b"\xff", "not JSON"),
        (b"[]", "'[]' is not a JSON object"),
        (b'{"update": 1}', "the key 'split' is missing"),
    ):
        (spare / "metrics.jsonl").write_bytes(b"\n".join([first, line, *others]))
        refused(["plot", spare], f"{spare}/metrics.jsonl, line 2: damaged, {says}", "delete the line")
    (spare / "metrics.jsonl").write_bytes(b"")
    refused(["plot", spare], "there are no metrics to draw yet; train at least")
    (spare / "metrics.jsonl").write_bytes(content[:-7])  # cut short by a kill
    accepted(["plot", spare])


# ----------------------------------------------------------------------------------- a file that changes meanwhile


def test_a_training_whose_file_changes_is_refused_and_goes_on_with_the_old_one(
    tmp_path, monkeypatch, refused, accepted
):
    monkeypatch.setattr(store, "CHUNK", 16)
    config, file = write_config(tmp_path, training=SHORT), tmp_path / "train.de"
    train, before = ["train", config, "--run", tmp_path / "run"], file.read_bytes()
    with monkeypatch.context() as patched:
        before_the_first(patched, dataset, "is_too_long", lambda: file.write_bytes(before + b"Katze\n"))
        refused(train, f"{file}: has changed while it was read", "train in another folder")
    assert not (tmp_path / "run" / "config.yaml").exists()
    file.write_bytes(before)
    with monkeypatch.context() as patched:
        before_the_first(patched, store, "encode_pairs", lambda: file.write_bytes(before + b"Katze\n"))
        refused(train, f"{file}: has changed while it was read")
    assert not [*(tmp_path / "run").glob("*store")]
    file.write_bytes(before)
    (tmp_path / "train.de.swp").write_text("an editor's\n")  # beside the pairs: no change
    accepted([*train, "--resume"])


# ------------------------------------------------------------------------------------------------- no space, no rights


def on_run(command, run, lines):
    return {
        "evaluate": ["evaluate", run, "--split", "dev"],
        "translate": ["translate", run, "--input", lines],
        "score": ["score", run, "--src", lines, "--tgt", lines],
        "attention": ["attention", run, "the cat"],
        "attention picture": ["attention", run, "the cat", "--output", lines.with_name("a.png")],
        "plot": ["plot", run, "--output", lines.with_name("a.png")],
        "plot --attention": ["plot", run, "--attention", "the cat"],
        "compare": ["compare", run, run],
        "check": ["check", f"{run}/config.yaml"],
        "bench": ["bench", run, "--updates", "1"],
        "train": ["train", f"{run}/config.yaml", "--run", lines.with_name("new"), "training.max_updates=1"],
    }[command]


PRINTING = ["evaluate", "translate", "score", "attention", "attention picture", "plot", "compare", "check", "bench"]


@full_device
@pytest.mark.parametrize("command", [*PRINTING, "train"])
def test_a_standard_output_that_is_full_is_an_error(run, tmp_path, monkeypatch, refused, command):
    lines = write_lines(tmp_path, "lines", SOURCES)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        says = "standard output: cannot be written: No space left on device; make room, or write to another file"
        refused(on_run(command, run, lines), says)


def in_a_process(arguments, **more):
    command = [sys.executable, "-m", "seq2seq", *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, **more)


@full_device
def test_a_standard_output_that_is_full_leaves_python_nothing_to_add(run, tmp_path):
    lines = write_lines(tmp_path, "lines", SOURCES)
    with open("/dev/full", "wb") as full:
        done = in_a_process(on_run("score", run, lines), stdout=full)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_what_was_cut_is_said_on_standard_error(run, tmp_path):
    src, ref = write_lines(tmp_path, "src", [b"cat"]), write_lines(tmp_path, "ref", [b"die " * (LONGEST + 1)])
    done = in_a_process(["evaluate", run, "--src", src, "--ref", ref], stdout=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "cut 1 reference after 2,000 words\n")


def test_an_output_that_fills_the_disk_is_an_error_that_names_the_file(run, tmp_path, refused):
    lines, out = write_lines(tmp_path, "lines", SOURCES * 20), tmp_path / "out"
    for command in ON_LINES:
        arguments = [*reading(command, run, lines, None), "--output", out]
        refused(arguments, f"--output {out}: cannot be written: File too large", while_=largest_file(500))
        assert out.stat().st_size <= 500


def test_an_evaluation_that_cannot_be_kept_leaves_the_last_one_whole(spare, refused, accepted):
    accepted(["evaluate", spare])
    before = {name: (spare / name).read_bytes() for name in ("test.hyp", "test.json")}
    says = f"{spare}/test.hyp: cannot be written: File too large; mend that"
    refused(["evaluate", spare, "--beam", "1"], says, while_=largest_file(100))
    assert {name: (spare / name).read_bytes() for name in before} == before


def test_results_for_a_users_file_have_names_of_their_own(spare, tmp_path, accepted, refused):
    accepted(["evaluate", spare])
    before = {path.name: path.read_bytes() for path in spare.iterdir() if path.is_file()}
    earlier = [path.name for path in spare.glob("evaluations/*")]
    (tmp_path / "other").mkdir()
    names = ["environment", "test", "best", "x" * 250, "other/test"]
    for name in names:
        src = write_lines(tmp_path, name, SOURCES)
        for _ in range(2):
            accepted(["evaluate", spare, "--src", src, "--ref", src])
    assert {path.name: path.read_bytes() for path in spare.iterdir() if path.is_file()} == before
    kept = sorted(path.suffix for path in (spare / "evaluations").iterdir() if path.name not in earlier)
    assert kept == [".hyp"] * len(names) + [".json"] * len(names)
    shutil.rmtree(spare / "evaluations")
    (spare / "evaluations").symlink_to(tmp_path)
    refused(
        ["evaluate", spare, "--src", src, "--ref", src], f"{spare}/evaluations: cannot be written: a link, which is"
    )


def test_no_command_writes_into_what_it_reads_whatever_its_name(run, tmp_path, monkeypatch, refused):
    file = write_lines(tmp_path, "lines", SOURCES)
    (tmp_path / "link").symlink_to(file)
    (tmp_path / "hard").hardlink_to(file)
    for command in ("translate", "align"):
        for output in ("lines", "link", "hard", "../" + tmp_path.name + "/lines"):
            with open(file) as read:
                monkeypatch.setattr(sys, "stdin", read)
                refused([command, run, "--output", tmp_path / output], "is the standard input file; give another one")
                refused([command, run, "--input", file, "--output", tmp_path / output], "is the --input file")
    assert file.read_bytes().splitlines() == SOURCES


def test_no_output_replaces_a_file_of_a_run_or_an_exported_one(run, tmp_path, refused):
    file = write_lines(tmp_path, "lines", SOURCES)
    weights = next((Path(run) / "checkpoints").glob("*/model.safetensors"))
    export_run(Run(Path(run)), tmp_path / "a.s2s")
    before = {each: each.read_bytes() for each in (Path(run) / "config.yaml", weights, tmp_path / "a.s2s")}
    for command in ("translate", "align"):
        for output in (
            *list(before)[:2],
            Path(run) / "store" / "new",
            Path(run) / "checkpoints" / ".." / "config.yaml",
        ):
            refused([command, run, "--input", file, "--output", output], "this file belongs to the run")
        refused([command, run, "--input", file, "--output", tmp_path / "a.s2s"], "this is an exported run")
    assert before == {each: each.read_bytes() for each in before}
    (tmp_path / "config.yaml").touch()  # of the user, in a folder that is no run
    for output in (Path(run) / "mine.de", tmp_path / "test.hyp"):
        assert main(["translate", str(run), "--input", str(file), "--output", str(output)]) == 0


def test_no_process_looks_for_modules_in_the_working_folder(tmp_path):
    for name in ("random", "queue", "pickle", "pathlib", "torch"):
        (tmp_path / f"{name}.py").write_text("import os\nos._exit(77)\n")
    done = in_a_process(["bench", "none.yaml"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    assert done.returncode == 2, done.stderr
    with selftest._process(tmp_path, "-c", "import queue, random") as process:
        assert process.wait() == 0


def test_a_store_that_fills_the_disk_is_an_error_and_goes_on_when_there_is_room(tmp_path, refused, accepted):
    write_pairs(tmp_path, "tsv", *rows_as("tsv", faults.ROWS * 60))
    config = write_config(tmp_path, data={"train": str(tmp_path / "pairs")}, training=SHORT)
    train = ["train", config, "--run", tmp_path / "run"]
    says = f"{tmp_path}/run/store: cannot be written: File too large; mend that and go on with --resume"
    refused(train, says, while_=largest_file(30_000))
    assert not [*(tmp_path / "run").glob("*store")]
    accepted([*train, "--resume"])
    assert (tmp_path / "run" / "store" / "tokens.bin").stat().st_size > 30_000


def test_a_folder_that_may_not_be_written_to_is_an_error(spare, run, tmp_path, refused, accepted, caplog):
    pytest.importorskip("matplotlib.pyplot")  # its first import needs permissions that are gone below
    (tmp_path / "closed").mkdir()
    lines, new = write_lines(tmp_path, "lines", SOURCES), tmp_path / "closed" / "new"
    config = write_config(tmp_path)
    with without_permission(tmp_path / "closed", spare, closed=0o555, places=[run]):
        refused(["translate", run, "--input", lines, "--output", new], f"--output {new}: Permission denied; give")
        refused(["plot", run, "--output", f"{new}.png"], f"{new}.png: Permission denied; give")
        refused(["attention", run, "cat", "--output", f"{new}.html"], f"{new}.html: ", "Permission denied")
        refused(["train", config, "--run", new], f"{new}: cannot be written: Permission denied; choose another")
        before, said = [*spare.iterdir()], accepted(["evaluate", spare, "--json"])
        assert json.loads(said)["sentences"] == 12
        assert caplog.messages[-1] == f"{spare}: the results cannot be kept: Permission denied"
        refused(["tune", spare], f"{spare}: the results cannot be kept: Permission denied; --dry-run searches")
        assert [*spare.iterdir()] == before
