"""What an installation needs: translating takes six packages, and works where names of Unix are missing."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tiny import write_config

import seq2seq
from seq2seq.commands.main import COMMANDS, main

ROOT = Path(__file__).parent.parent
LINE = "the old cat sees the dog"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# what torch, sentencepiece, pyyaml, pydantic, safetensors and tqdm bring along
PACKAGES = {"torch", "sentencepiece", "yaml", "pydantic", "safetensors", "tqdm"}
THEIRS = {
    "torchgen",
    "functorch",
    "pydantic_core",
    "annotated_types",
    "typing_extensions",
    "typing_inspection",
    "sympy",
}
THEIRS |= {
    "mpmath",
    "networkx",
    "jinja2",
    "markupsafe",
    "filelock",
    "fsspec",
    "setuptools",
    "pkg_resources",
    "colorama",
}
OTHERS_ARE_MISSING = f"""
import sys, warnings
class Missing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if not top.startswith("_") and top not in {PACKAGES | THEIRS | {"seq2seq"}} | set(sys.stdlib_module_names):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "Failed to initialize NumPy")
"""

# Windows lacks these; torch and the standard library know it, so they are loaded before
UNIX_IS_MISSING = """
import logging, os, pydantic, safetensors.torch, signal, subprocess, sys, tempfile, tqdm, zipfile
import torch, torch.func, torch.nn.utils.rnn, torch.overrides, torch.utils.checkpoint
for name in ("fcntl", "resource", "termios", "tty", "pty", "pwd", "grp"):
    sys.modules[name] = None
for name in "O_CLOEXEC O_NOFOLLOW O_NONBLOCK fork getuid killpg mkfifo sched_getaffinity statvfs sysconf".split():
    delattr(os, name)
for name in "SIGALRM SIGCONT SIGHUP SIGKILL SIGPIPE SIGSTOP SIGTSTP SIGUSR1 SIGWINCH".split():
    delattr(signal, name)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("install")
    config = write_config(folder, tokenizer={"type": "bpe", "vocab_size": 300})
    assert main(["train", str(config), "--run", str(folder / "run"), "training.max_updates=10"]) == 0
    assert main(["export", str(folder / "run"), str(folder / "tiny.s2s")]) == 0
    (folder / "lines").write_text(f"{LINE}\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("missing", [OTHERS_ARE_MISSING, UNIX_IS_MISSING], ids=["packages", "unix"])
@pytest.mark.parametrize("run", ["run", "tiny.s2s"])
def test_translating_needs_nothing_else(folder, missing, run):
    code = f"""{missing}
import seq2seq
translation, = seq2seq.load({run!r}).translate([{LINE!r}])
assert len(translation.attention) == len(translation.tokens) == len(translation.token_scores)
print(translation.text, flush=True)
sys.argv[1:] = ["translate", {run!r}, "--input", "lines"]
from seq2seq.__main__ import program
program()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    text = seq2seq.load(folder / "run").translate([LINE])[0].text
    assert (done.returncode, done.stdout) == (0, f"{text}\n{text}\n"), done.stderr


def test_what_needs_a_package_that_is_missing_names_it_in_one_line(folder):
    code = f"{OTHERS_ARE_MISSING}\nfrom seq2seq.__main__ import program\nprogram()"
    command = [sys.executable, "-c", code, "evaluate", "run"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert re.fullmatch(r"seq2seq: error: (\w+) is not installed, and this needs it; pip install \1\n", done.stderr)


def test_the_distribution_has_a_name_of_its_own_and_all_that_training_and_measuring_need():
    assert PROJECT["name"] == "seq2seq-attention"
    needed = {re.split(r"[^\w-]", requirement)[0] for requirement in PROJECT["dependencies"]}
    assert {"torch", "torchtext", "sentencepiece", "tqdm", "pyyaml", "sacrebleu", "pydantic", "safetensors"} <= needed
    assert (Path(seq2seq.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize("arguments", [["--version"], ["-V"], ["translate", "--version"]])
def test_the_version_is_printed(capsys, arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert (end.value.code, capsys.readouterr().out) == (0, f"seq2seq {seq2seq.__version__}\n")


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_a_misspelled_option_gets_a_hint(capsys, command):
    with pytest.raises(SystemExit) as end:
        main([*command, "--versoin"])
    error = capsys.readouterr().err
    assert (end.value.code, error.count("\n")) == (2, 1)
    assert "; did you mean --version?" in error


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_bash_completes_commands_options_and_files(folder, capsys):
    assert main(["completion", "bash"]) == 0
    asked = {"tra": "train translate", "translate --bea": "--beam", "translate tiny.s": "tiny.s2s"}
    lines = [
        f"COMP_WORDS=(seq2seq {words}); COMP_CWORD={len(words.split())}; _shtab_seq2seq; echo ${{COMPREPLY[@]}}"
        for words in asked
    ]
    script = "\n".join([capsys.readouterr().out, *lines])
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [*asked.values()], done.stderr
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef seq2seq")
