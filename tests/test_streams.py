"""The standard streams and signals of a command: no line is lost with exit code 0, and no signal loses a training."""

import fcntl
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from tiny import write_config

from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.doctor.check import check
from seq2seq.errors import UserError, printable
from seq2seq.runs.run import Run
from seq2seq.training.launch import Launch, read_launch

COMMAND = [sys.executable, "-m", "seq2seq"]
EVIL = "a\x1b[31mb\x07c\rd\ne\x9bf\u202eg\u2028h"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
LINES = b"the cat\n" * 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("streams")


@pytest.fixture(scope="module")
def run(folder):
    config = write_config(folder, training={"max_updates": 20, "validate_every": 10})
    assert main(["train", str(config), "--run", str(folder / "run")]) == 0
    (folder / "lines").write_bytes(LINES)
    return str(folder / "run")


def one_thread(**more):
    return os.environ | {"OMP_NUM_THREADS": "1"} | more


def shell(command, **more):
    """A command of the shell, in which $S is `seq2seq`; every part of a pipe counts."""
    environment = one_thread(S=" ".join(COMMAND))
    line = ["bash", "-c", f"set -o pipefail; {command}"]
    return subprocess.run(line, capture_output=True, text=True, env=environment, **more)


# ------------------------------------------------------------------------------------------------------------ streams

ANY = {
    "translate": "translate {run} --input {lines} --beam 1",
    "help": "train --help",
    "version": "--version",
}


@pytest.mark.parametrize("command", ANY)
def test_an_output_that_cannot_be_written_is_an_error_whatever_is_wrong_with_it(run, folder, command):
    line = f"$S {ANY[command].format(run=run, lines=folder / 'lines')}"
    for broken, says in ((">&-", "it is closed"), (">/dev/full", "No space left on device")):
        done = shell(f"{line} {broken}")
        error = f"seq2seq: error: standard output: cannot be written: {says}; make room, or write to another file\n"
        assert (done.returncode, done.stderr, done.stdout) == (2, error, "")


def test_errors_never_go_to_standard_output_and_the_exit_code_tells_without_them():
    for line in ("translate nowhere 2>&-", "trian 2>/dev/full", "trian <&- 2>&-"):
        done = shell(f"$S {line}")
        assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_a_standard_input_that_is_closed_is_an_error(run):
    done = shell(f"$S translate {run} <&-")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("seq2seq: error: standard input: cannot be read: ")


def test_a_reader_that_has_gone_ends_a_command_quietly_with_141(run, folder):
    done = shell(f"$S translate {run} --input {folder / 'lines'} --beam 1 | :")
    assert (done.returncode, done.stderr) == (141, "")


def test_no_line_is_lost_in_pipes_that_do_not_block(run, folder):
    """Short writes too: Python writes them where PYTHONUNBUFFERED is set."""
    command = [*COMMAND, "translate", run, "--beam", "1", "--json"]
    expected = subprocess.run(command, input=LINES, capture_output=True, check=True, env=one_thread()).stdout
    assert expected.count(b"\n") == 300
    (source, into), (out, target) = os.pipe(), os.pipe()
    for pipe in (source, target):
        os.set_blocking(pipe, False)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(target, fcntl.F_SETPIPE_SZ, 4096)  # soon full
    process = subprocess.Popen(command, stdin=source, stdout=target, env=one_thread(PYTHONUNBUFFERED="1"))
    os.close(source)
    os.close(target)
    with open(into, "wb") as lines, open(out, "rb") as found:
        for part in (LINES[:1003], LINES[1003:]):
            lines.write(part)
            lines.flush()
        lines.close()
        assert (found.read() == expected, process.wait()) == (True, 0)


# --------------------------------------------------------------------------------------------- the log of a training


@pytest.mark.parametrize(("broken", "code"), [(">&- 2>&-", 2), ("2>&1 | head -1", 141)])
def test_a_training_whose_log_cannot_be_written_ends_as_any_other_but_for_its_exit_code(tmp_path, broken, code):
    path = write_config(tmp_path)
    done = shell(f"$S train {path} --run {tmp_path / 'run'} {broken}")
    assert done.returncode == code
    assert (tmp_path / "run" / "last").read_text() == "step-000030\n"
    assert (tmp_path / "run" / "test.json").exists()


def begun(tmp_path, output):
    """A training without end that has saved a checkpoint, and the end of its output that reads."""
    path = write_config(tmp_path, training={"max_updates": 100_000, "patience": 0})
    reader, writer = pty.openpty() if output == "terminal" else os.pipe()
    begin = "import fcntl, os, sys, termios; fcntl.ioctl(1, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", begin, *COMMAND] if output == "terminal" else COMMAND
    process = subprocess.Popen(
        [*command, "train", str(path), "--run", str(tmp_path / "run")],
        stdin=writer,
        stdout=writer,
        stderr=writer,
        env=one_thread(),
        start_new_session=True,
    )
    os.close(writer)
    shown = b""
    while b"update     10" not in shown:
        shown += os.read(reader, 1000)
    return process, reader


def is_saved(run):
    """Whether the last checkpoint is that of the last update."""
    return run.checkpoints.find("last").update >= run.metrics.records()[-1]["update"]


def test_ctrl_c_saves_although_the_reader_of_the_log_has_gone(tmp_path):
    """As after Ctrl-C with `2>&1 | tee log`, which ends tee too."""
    process, reader = begun(tmp_path, "pipe")
    os.close(reader)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert is_saved(Run(tmp_path / "run"))


def test_a_terminal_that_closes_saves(tmp_path):
    process, reader = begun(tmp_path, "terminal")
    os.close(reader)
    assert process.wait() == 129
    assert is_saved(Run(tmp_path / "run"))


# --------------------------------------------------------------------------------------------------------- characters


def test_no_character_of_a_name_or_a_value_controls_the_terminal(run, folder, tmp_path, capsys):
    evil = tmp_path / EVIL
    shutil.copytree(run, evil)
    config = shutil.copy(folder / "tiny.yaml", f"{evil}.yaml")
    lines = shutil.copy(folder / "dev.en", f"{evil}.txt")
    for arguments, code in (
        (["evaluate", evil, "--src", lines, "--ref", lines], 0),
        (["plot", evil], 0),
        (["compare", evil, evil], 0),
        (["check", config, "training.max_updates=1"], 0),
        (["train", config, "--run", tmp_path / f"new{EVIL}", "training.max_updates=1"], 0),
        (["train", config, "--run", evil], 2),
        (["translate", tmp_path / f"no{EVIL}"], 2),
        (["translate", run, "--input", f"no{EVIL}"], 2),
        (["check", config, 'data.train="\\e[31m\\r\\n"'], 2),
        (["check", config, 'data.train="a\\0b"'], 2),
        (["train", config, "--run", tmp_path / os.fsdecode(b"\xff")], 2),
        (["train", config, "--run", "a\0b"], 2),
        ([EVIL], 2),
        (["train", f"--{EVIL}"], 2),
        (["translate", run, "--beam", EVIL], 2),
    ):
        capsys.readouterr()
        try:
            ended = main([str(argument) for argument in arguments])
        except SystemExit as end:
            ended = end.code
        out, err = capsys.readouterr()
        assert ended == code, (arguments, err)
        assert not CONTROL.search(out + err), (arguments, out, err)
        assert len(err.splitlines()) == (code == 2), (arguments, err)


def test_a_terminal_gets_no_control_characters_and_a_pipe_the_text_as_it_is():
    code = "import sys; from seq2seq.commands.console import write_output; write_output(None, ['a\\x1bb\\n'])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).stdout == b"a\x1bb\n"
    reader, writer = pty.openpty()
    subprocess.run([sys.executable, "-c", code], stdout=writer, check=True)
    assert os.read(reader, 100) == b"a\\x1bb\r\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("naïve 네 ▁… \u200c", "naïve 네 ▁… \u200c"),
        ("\x1b\n\t\x7f\x85", r"\x1b\n\t\x7f\x85"),
        ("\u202e\udcff\ud800", r"\u202e\xff\ud800"),
    ],
)
def test_characters_that_control_are_spelled_out(text, shown):
    assert printable(text) == str(UserError(text)) == shown == printable(shown)


# ------------------------------------------------------------------------------------------------------------ signals

INTERRUPTS = """
import os, signal, sys

class Finder:
    def find_spec(self, name, *_):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.{number})

sys.meta_path.insert(0, Finder())
"""


def interrupted(folder, module, number):
    """The environment of a process that gets a signal when it imports a module."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(INTERRUPTS.format(module=module, number=number))
    return one_thread(PYTHONPATH=os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.parametrize("module", ["seq2seq.commands.main", "numpy._core._multiarray_umath", "torch._C"])
def test_ctrl_c_during_an_import_is_quiet(run, tmp_path, module):
    environment = interrupted(tmp_path / "site", module, "SIGINT")
    done = subprocess.run([*COMMAND, "translate", run], input=b"", capture_output=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def wait_until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("number", ["SIGTERM", "SIGKILL"])
def test_a_check_that_is_killed_leaves_no_folder_behind(run, folder, tmp_path, number):
    code = (
        "import os, signal, sys\nfrom seq2seq.doctor import check\nfrom seq2seq.__main__ import program\n"
        f"check.dataset.prepare_store = lambda *_, **__: os.kill(os.getpid(), signal.{number})\n"
        f"sys.argv = ['seq2seq', 'check', {str(folder / 'tiny.yaml')!r}]\nprogram()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=one_thread(TMPDIR=str(tmp_path)))
    assert abs(done.returncode) % 128 == getattr(signal, number)
    if number == "SIGKILL":
        wait_until(lambda: not any(tmp_path.iterdir()))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("number", ["SIGTERM", "SIGKILL"])
def test_a_selftest_that_is_killed_leaves_no_training_and_no_folder_behind(tmp_path, number):
    """The training holds a pipe open until it ends."""
    temporary, alive = tmp_path / "temporary", tmp_path / "alive"
    temporary.mkdir()
    os.mkfifo(alive)
    endless = f"import time; file = open({str(alive)!r}, 'wb', 0); file.write(b'x'); time.sleep(60); file.write(b'end')"
    code = (
        "import os, signal, sys\nfrom seq2seq.doctor import selftest\nfrom seq2seq.__main__ import program\n"
        "def resume(folder):\n"
        f"    with selftest._process(folder, '-c', {endless!r}), open({str(alive)!r}, 'rb') as file:\n"
        "        file.read(1)\n"
        f"        os.kill(os.getpid(), signal.{number})\n"
        "        file.read()\n"
        "selftest.parts = resume\nsys.argv = ['seq2seq', 'selftest']\nprogram()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=one_thread(TMPDIR=str(temporary)))
    reader = os.open(alive, os.O_RDONLY)
    process.wait()
    while found := os.read(reader, 10):
        assert b"end" not in found
    wait_until(lambda: not any(temporary.iterdir()))
    assert abs(process.returncode) % 128 == getattr(signal, number)


# -------------------------------------------------------------------------------------------------------- environment


def test_without_a_temporary_folder_a_check_is_an_error(folder, run, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(UserError, match="no temporary folder: No such file or directory; set TMPDIR to a folder"):
        list(check(load_config(folder / "tiny.yaml")))


def test_an_odd_backend_changes_no_picture(run, tmp_path):
    pictures = tmp_path / "usual.png", tmp_path / "odd.png"
    assert main(["plot", run, "--output", str(pictures[0])]) == 0
    odd = one_thread(MPLBACKEND="nonsense")
    subprocess.run([*COMMAND, "plot", run, "--output", pictures[1]], check=True, capture_output=True, env=odd)
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Launch(0, 1)),
        ({"RANK": "1"}, Launch(0, 1)),
        (TORCHRUN, Launch(1, 2)),
        (
            TORCHRUN | {"RANK": ""},
            "the environment has WORLD_SIZE=2 but no RANK; start several processes with torchrun",
        ),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "WORLD_SIZE=2 but no MASTER_ADDR"),
        (TORCHRUN | {"RANK": "2"}, "RANK=2, but WORLD_SIZE=2"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two, which is not a number"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0, which is not a number"),
    ],
)
def test_the_environment_of_torchrun_is_whole_or_an_error(monkeypatch, environment, expected):
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if isinstance(expected, Launch):
        assert read_launch() == expected
    else:
        with pytest.raises(UserError, match=expected):
            read_launch()


# ----------------------------------------------------------------------------------------------------- misspelt words


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trian"], "seq2seq: error: trian is no command; did you mean train?; see seq2seq --help"),
        (["x"], "x is no command; the commands are split, train, evaluate,"),
        (["translate", "run", "--baem", "3"], "unrecognized arguments: --baem 3; did you mean --beam?; see seq2seq tr"),
        (["train", "a.yaml", "--run", "r", "model.dropout", "=", "0.1"], "without spaces: model.dropout=0.1;"),
        (["train", "a.yaml", "--run", "r", "model.dropout=", "0.1"], "without spaces: model.dropout=0.1;"),
        (["train", "a.yaml", "--model.dropout=0.1"], "without -- and without spaces: model.dropout=0.1;"),
        (["train", "a.yaml", "--model.dropout", "0.1"], "without -- and without spaces: model.dropout=0.1;"),
        (["translate", "run", "--data.src=en"], "unrecognized arguments: --data.src=en; see seq2seq translate"),
        (["--resume", "train"], "--resume is an option of train: write it after the command"),
        (["--nothing"], "--nothing is no option of seq2seq"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_a_misspelt_word_is_an_error_of_one_line_with_a_hint(capsys, arguments, says):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    assert (end.value.code, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_the_version_is_shown(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert re.fullmatch(r"seq2seq \S+\n", capsys.readouterr().out)
