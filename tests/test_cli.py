"""The command, run as a user runs it: what it prints, what it leaves, how it ends."""

import gzip
import io
import json
import subprocess
import sys

import pytest
import torch
from tiny import write_config

import seq2seq
from seq2seq.commands.main import COMMANDS, main
from seq2seq.runs.run import Run

NAMES = list(COMMANDS)


class Stdin(io.TextIOWrapper):
    """Standard input that is a pipe."""

    def __init__(self, data: bytes):
        super().__init__(io.BytesIO(data), encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def run(folder):
    config = write_config(folder, training={"max_updates": 60, "validate_every": 20})
    assert main(["train", str(config), "--run", str(folder / "run")]) == 0
    return str(folder / "run")


def pipe(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", Stdin(data))


def test_help_answers_without_importing_torch():
    code = (
        "import sys\nfrom seq2seq.commands.main import main\n"
        f"for command in {[[], *([name] for name in NAMES)]}:\n"
        "    try: main([*command, '--help'])\n    except SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'pydantic', 'sacrebleu', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: seq2seq") == 1 + len(NAMES)


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "seq2seq", "--help"], capture_output=True, text=True)
    assert all(f"  {name} " in done.stdout for name in NAMES)


def test_training_reports_evaluates_and_shows(folder, capsys):
    config = write_config(folder, training={"max_updates": 20, "validate_every": 10})
    assert main(["train", str(config), "--run", str(folder / "shown")]) == 0
    out = capsys.readouterr().out
    for shown in (
        "dev loss",
        "BLEU",
        "test set: 12 sentences",
        "reference",
        "translation",
        "</s>",
        "seq2seq translate",
    ):
        assert shown in out, shown
    assert (folder / "shown" / "test.hyp").exists()


def test_a_training_without_attention_shows_translations_alone_and_json_has_null(folder, monkeypatch, capsys):
    config = write_config(folder, training={"max_updates": 10, "validate_every": 10})
    blind = str(folder / "blind")
    assert main(["train", str(config), "model.attention.score=none", "--run", blind]) == 0
    out = capsys.readouterr().out
    assert "translation  " in out
    assert "</s>" not in out
    pipe(monkeypatch, b"the cat\n\n")
    assert main(["translate", blind, "--json", "--attention"]) == 0
    assert [json.loads(line)["attention"] for line in capsys.readouterr().out.splitlines()] == [None, None]


def test_a_mistake_leaves_the_output_file_as_it_was(run, folder, capsys):
    (folder / "line.txt").write_text("the cat\n")
    (folder / "kept.txt").write_text("kept\n")
    files = ["--input", str(folder / "line.txt"), "--output", str(folder / "kept.txt")]
    for options in (["--beam", "0"], ["--beam", "100000"], ["--nbest", "9"], ["--sample", "--top-p", "2"]):
        assert main(["translate", run, *files, *options]) == 2
    assert (folder / "kept.txt").read_text() == "kept\n"


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_a_command_begins_with_its_docstring(name, capsys):
    with pytest.raises(SystemExit):
        main([name, "--help"])
    _usage, description, *_ = capsys.readouterr().out.split("\n\n")
    assert description.split() == COMMANDS[name].__doc__.split()


def test_a_folder_that_holds_a_run_is_refused_with_exit_code_2(run, folder, capsys):
    assert main(["train", str(folder / "tiny.yaml"), "--run", run]) == 2
    assert "--resume" in capsys.readouterr().err


def test_resuming_a_finished_run_only_evaluates(folder, capsys):
    config = write_config(folder, training={"max_updates": 20, "validate_every": 10})
    arguments = ["train", str(config), "--run", str(folder / "finished"), "--resume"]
    assert main(arguments) == 0
    before = (folder / "finished" / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert main(arguments) == 0
    assert (folder / "finished" / "metrics.jsonl").read_bytes() == before
    assert "test set: 12 sentences" in capsys.readouterr().out


def test_overrides_reach_the_run_before_and_behind_options(folder):
    run = folder / "overridden"
    before, behind = "training.max_updates=5", "model.attention.score=bahdanau"
    assert main(["train", str(write_config(folder)), before, "--run", str(run), behind]) == 0
    kept = Run.open(run).config()
    assert (kept.training.max_updates, kept.model.attention.score) == (5, "concat")


def test_evaluate_as_json_has_the_promised_keys(run, capsys):
    assert main(["evaluate", run, "--json", "--beam", "2"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["sentences"] == 12
    assert result["seconds"] > 0
    for name in ("bleu", "chrf", "ter"):
        assert set(result[name]) == {"score", "signature", "interval"}


def test_evaluate_takes_files_and_several_references(run, folder, capsys):
    src, ref = str(folder / "dev.en"), str(folder / "dev.de")
    assert main(["evaluate", run, "--src", src, "--ref", ref, ref, "--json"]) == 0
    assert "nrefs:2" in json.loads(capsys.readouterr().out)["bleu"]["signature"]


def test_evaluate_with_a_source_alone_is_refused(run, folder, capsys):
    assert main(["evaluate", run, "--src", str(folder / "dev.en")]) == 2
    assert "--src and --ref go together" in capsys.readouterr().err


def test_a_pipe_gives_a_line_for_every_line(run, monkeypatch, capsys):
    pipe(monkeypatch, "the cat\n\nold dog\r\n네 the\u2028cat\nlast".encode())
    assert main(["translate", run]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert len(lines) == 6
    assert lines[5] == ""
    assert [bool(line) for line in lines[:5]] == [True, False, True, True, True]


def test_pipe_files_evaluation_and_python_say_the_same(run, folder, monkeypatch, capsys):
    source = (folder / "test.en").read_bytes()
    pipe(monkeypatch, source)
    main(["translate", run])
    piped = capsys.readouterr().out
    out = folder / "out.de"
    main(["translate", run, "--input", str(folder / "test.en"), "--output", str(out), "--batch-size", "1"])
    main(["evaluate", run, "--batch-size", "5"])
    in_python = [t.text for t in seq2seq.load(run).translate(source.decode().splitlines())]
    assert piped == out.read_text(encoding="utf-8") == (folder / "run" / "test.hyp").read_text(encoding="utf-8")
    assert piped.splitlines() == in_python


def test_lines_are_written_as_they_are_ready(run):
    """Two batches of one line: the first translation arrives before the second line is sent."""
    process = subprocess.Popen(
        [sys.executable, "-m", "seq2seq", "translate", run, "--batch-size", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        process.stdin.write(b"the cat\n")
        process.stdin.flush()
        assert process.stdout.readline().strip()
        process.stdin.write(b"the dog\n")
        process.stdin.close()
        assert process.stdout.readline().strip()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_json_lines_have_the_promised_keys(run, monkeypatch, capsys):
    pipe(monkeypatch, b"the cat sees\n")
    assert main(["translate", run, "--json", "--nbest", "2"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {"text", "score", "tokens", "source_tokens", "alternatives"} <= set(result)
    assert "attention" not in result
    assert len(result["alternatives"]) == 1


def test_json_lines_have_the_attention_when_asked_for(run, monkeypatch, capsys):
    pipe(monkeypatch, b"the cat sees\n")
    assert main(["translate", run, "--json", "--attention"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["attention"]) == len(result["tokens"])
    assert len(result["attention"][0]) == len(result["source_tokens"])


def test_an_nbest_list_names_its_line(run, monkeypatch, capsys):
    pipe(monkeypatch, b"the cat\nold dog\n")
    assert main(["translate", run, "--nbest", "2"]) == 0
    cells = [line.split(" ||| ") for line in capsys.readouterr().out.splitlines()]
    assert [cell[0] for cell in cells] == ["0", "0", "1", "1"]
    assert all(float(cell[2]) < 0 for cell in cells)


def test_score_prints_a_number_a_line(run, folder, capsys):
    assert main(["score", run, "--src", str(folder / "dev.en"), "--tgt", str(folder / "dev.de")]) == 0
    values = [float(line) for line in capsys.readouterr().out.splitlines()]
    assert len(values) == 12
    assert all(value < 0 for value in values)


def test_score_as_json_has_the_number_of_each_token(run, folder, capsys):
    files = ["--src", str(folder / "dev.en"), "--tgt", str(folder / "dev.de")]
    assert main(["score", run, *files]) == main(["score", run, *files, "--json", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for number, scored in zip(map(float, lines[:12]), map(json.loads, lines[12:]), strict=True):
        assert scored["score"] == pytest.approx(number, abs=1e-6)
        assert sum(scored["token_scores"]) == pytest.approx(number, abs=1e-6)
        assert len(scored["tokens"]) == len(scored["token_scores"])
        assert scored["tokens"][-1] == "</s>"


def test_a_pipe_says_that_its_model_is_weak(run, monkeypatch, capsys, caplog):
    monkeypatch.setattr("seq2seq.runs.metrics.weakness", lambda scores: f"weak: {scores['bleu']:.0f}")
    pipe(monkeypatch, b"the old cat sees")
    assert main(["translate", run]) == 0
    assert [record.message.split(":")[1] for record in caplog.records] == [" weak"]


def test_a_pipe_counts_on_standard_error_what_the_model_is_unsure_of(run, monkeypatch, capsys, caplog):
    lines = [b"qqq zzz", b"the old cat sees", b"yyy", b""]
    pipe(monkeypatch, b"\n".join(lines))
    assert main(["translate", run, "--json"]) == 0
    doubts = [json.loads(line)["unsure"] for line in capsys.readouterr().out.splitlines()]
    assert doubts == ["mostly unknown words: qqq, zzz", None, "mostly unknown words: yyy"]
    assert [record.message for record in caplog.records] == ["unsure (mostly unknown words): 2 of 3 lines"]


def test_a_line_of_two_sentences_is_one_line_out_and_split_only_where_asked(run, monkeypatch, capsys):
    printed = []
    for option in ("--split", "--no-split"):
        pipe(monkeypatch, b"The cat. The dog sees\nthe cat\n")
        assert main(["translate", run, option, "--json"]) == 0
        printed.append([json.loads(line)["source_tokens"] for line in capsys.readouterr().out.splitlines()])
    assert [[tokens.count("</s>") for tokens in lines] for lines in printed] == [[2, 1], [1, 1]]


def test_from_python_a_training_talks_like_the_command_unless_logging_is_configured(folder):
    config = str(write_config(folder, training={"max_updates": 10}))
    code = (
        "import logging, seq2seq, sys\n"
        f"run = seq2seq.train({config!r}, run={str(folder / 'talk')!r})\n"
        "logging.basicConfig(level='INFO', format='LOG %(message)s', stream=sys.stdout)\n"
        f"seq2seq.train({config!r}, run={str(folder / 'talk')!r}, resume=True)\n"
        "logging.getLogger().setLevel('WARNING')\n"
        f"seq2seq.train({config!r}, run={str(folder / 'talk')!r}, resume=True)\n"
        "try: seq2seq.load(run.path).translate(['the', None])\n"
        "except seq2seq.UserError as error: assert str(error).startswith('texts[1] is None')\n"
        "assert all(hasattr(seq2seq, name) for name in [*seq2seq.__all__, '__version__'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    begins = [i for i, line in enumerate(lines) if "training pairs: kept" in line]
    assert [lines[i].split()[0] for i in begins] == ["training", "LOG"]
    assert sum("update     10" in line for line in lines) == 1
    assert sum("finished after update 10" in line for line in lines) == 1


def test_plot_draws_into_the_run(run, folder, capsys):
    assert main(["plot", run]) == 0
    assert (folder / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_check_says_what_there_is(folder, capsys):
    assert main(["check", str(write_config(folder))]) == 0
    out = capsys.readouterr().out
    assert "120 sentence pairs" in out
    assert "parameters" in out


def test_an_unknown_option_is_refused(folder, capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", str(folder / "tiny.yaml"), "--rum", "x"])
    assert end.value.code == 2
    assert "--rum" in capsys.readouterr().err


def test_gzipped_input_is_unpacked(run, folder, capsys):
    (folder / "in.gz").write_bytes(gzip.compress(b"the cat\nold dog\n"))
    assert main(["translate", run, "--input", str(folder / "in.gz")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_samples_of_one_line_differ_between_batches(run, monkeypatch, capsys):
    pipe(monkeypatch, b"the cat sees the old dog\n" * 12)
    assert main(["translate", run, "--sample", "--temperature", "3", "--batch-size", "1"]) == 0
    assert len(set(capsys.readouterr().out.splitlines())) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "nowhere"], "nowhere: not a run folder"),
        (["translate", "{good}"], "good.txt: a file; give the folder of a run, runs/good if `seq2seq train"),
        (["train", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["translate", "{run}", "--input", "nowhere.txt"], "nowhere.txt: cannot be read: No such file"),
        (["translate", "{run}", "--input", "{bad}"], "bad.txt:2: byte 3"),
        (["translate", "{run}", "--input", "{good}", "--beam", "0"], "beam is 0"),
        (["translate", "{run}", "--input", "{good}", "--nbest", "9"], "nbest is 9"),
        (["translate", "{run}", "--input", "{good}", "--batch-size", "0"], "--batch-size is 0"),
        (["translate", "{run}", "--input", "{good}", "--batch-size", f"{2**63}"], "write 1 to 100000"),
        (
            ["translate", "{run}", "--input", "{good}", "--sample", "--seed", f"{2**64}"],
            "seed is 1844674407",
        ),
        (
            ["translate", "{run}", "--input", "{good}", "--sample", "--temperature", "1e300"],
            "temperature is 1e+300",
        ),
        (["align", "{run}", "--input", "{good}", "--head", "1" * 5000], "--head 111"),
        (["translate", "{run}", "--input", "{good}", "--output", "/nowhere/x"], "--output /nowhere/x: No such file"),
        (["translate", "{run}", "--input", "{good}", "--output", "{good}"], "is the --input file"),
        (["translate", "{run}", "--input", "{good}", "--attention"], "--attention needs --json"),
        (["translate", "{run}", "--input", "{good}", "--sample", "--nbest", "2"], "leave --nbest and --beam out"),
        (["translate", "{run}", "--input", "{good}", "--top-k", "2"], "are for --sample"),
        (["score", "{run}", "--src", "{good}", "--tgt", "{bad}"], "bad.txt:2"),
        (["evaluate", "{run}", "--src", "{good}", "--ref", "{good}", "--ref", "{bad}"], "bad.txt:2"),
        (["evaluate", "{run}", "--report", "/nowhere/a.html"], "--report /nowhere/a.html: there is no folder /nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(run, folder, capsys, arguments, message):
    (folder / "good.txt").write_text("the cat\n")
    (folder / "bad.txt").write_bytes(b"fine\nab\xff\n")
    names = {"run": run, "good": str(folder / "good.txt"), "bad": str(folder / "bad.txt")}
    capsys.readouterr()
    assert main([argument.format(**names) for argument in arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_too_little_memory_is_one_line_and_exit_code_2(run, monkeypatch, capsys):
    monkeypatch.setattr("seq2seq.commands.plot.run", lambda args: torch.empty(2**60, dtype=torch.uint8))
    assert main(["plot", run]) == 2
    err = capsys.readouterr().err
    assert err.startswith("seq2seq: error: out of memory; lower training.batch_tokens")
    assert err.count("\n") == 1
