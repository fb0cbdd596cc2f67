"""Trainings through the command line, and what must have been learned. `make test-all` runs them: minutes each."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sacrebleu.metrics import BLEU

from seq2seq import load
from seq2seq.cli import main
from seq2seq.serving.repl import Settings, answer

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def all_cores():
    before = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    yield
    torch.set_num_threads(before)


def trained(tmp_path_factory, config, *overrides):
    """The run folder of a config of the repository, trained from its root."""
    run = tmp_path_factory.mktemp("runs") / config
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(ROOT)
        assert main(["train", f"configs/{config}.yaml", *overrides, "--run", str(run)]) == 0
    return run


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return trained(tmp_path_factory, "toy")


@pytest.fixture(scope="module")
def toy_without_attention(tmp_path_factory):
    return trained(tmp_path_factory, "toy", "model.attention.score=none", "training.patience=0")


def lines(name):
    return (ROOT / "data/toy" / name).read_text(encoding="utf-8").splitlines()


def longest_quarter_bleu(run):
    """BLEU on the quarter of the test set whose sources have the most words."""
    rows = list(
        zip(lines("test.en"), lines("test.de"), (run / "test.hyp").read_text("utf-8").splitlines(), strict=True)
    )
    rows = sorted(rows, key=lambda row: -len(row[0].split()))[: len(rows) // 4]
    return BLEU().corpus_score([hypothesis for _, _, hypothesis in rows], [[ref for _, ref, _ in rows]]).score


def test_the_toy_config_reaches_95_bleu(toy):
    assert json.loads((toy / "test.json").read_text())["bleu"]["score"] >= 95


def test_the_right_pronoun_is_likelier_in_95_of_100_contrasts(toy):
    translator = load(toy)
    right, wrong = (
        translator.score(lines("pronouns.en"), lines(name)) for name in ("pronouns.de", "pronouns.wrong.de")
    )
    assert sum(r > w for r, w in zip(right, wrong, strict=True)) >= 0.95 * len(right)


def test_without_attention_long_sentences_are_10_bleu_worse(toy, toy_without_attention):
    assert longest_quarter_bleu(toy) - longest_quarter_bleu(toy_without_attention) >= 10


def test_session_pipe_evaluation_and_python_agree_on_every_line_at_batch_1_and_64(toy, tmp_path):
    expected = (toy / "test.hyp").read_text(encoding="utf-8")
    for size in ("1", "64"):
        out = tmp_path / size
        source = str(ROOT / "data/toy/test.en")
        assert main(["translate", str(toy), "--input", source, "--output", str(out), "--batch-size", size]) == 0
        assert out.read_text(encoding="utf-8") == expected
    translator = load(toy)
    assert [t.text for t in translator.translate(lines("test.en"))] == expected.splitlines()
    assert [translator.translate([line])[0].text for line in lines("test.en")] == expected.splitlines()
    settings = Settings(translator.search.beam, 1, attention=False)
    assert [answer(translator, line, settings) for line in lines("test.en")] == expected.splitlines()


def test_it_looks_at_its_antecedent_in_80_of_100_sentences(tmp_path_factory):
    """A head of the encoder, chosen on dev, gives the noun that "it" stands for more weight than the other noun."""
    run = trained(tmp_path_factory, "toy_self_attention")
    command = [sys.executable, str(ROOT / "scripts/measure_pronouns.py"), str(run)]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shares = dict(re.findall(r"^  (dev|test) +([0-9.]+) %", report, flags=re.MULTILINE))
    assert float(shares["dev"]) >= 80
    assert float(shares["test"]) >= 80


def test_korean_particles_follow_the_last_sound(tmp_path_factory):
    """In what the model writes, not in the references: 은/을/이 after a consonant, 는/를/가 after a vowel."""
    run = trained(tmp_path_factory, "toy_ko")
    assert json.loads((run / "test.json").read_text())["bleu"]["score"] >= 85
    words = re.findall(r"([가-힣]+)(은|는|을|를)(?= )", (run / "test.hyp").read_text(encoding="utf-8"))
    right = sum(((ord(noun[-1]) - ord("가")) % 28 > 0) == (particle in "은을") for noun, particle in words)
    assert len(words) > 500
    assert right >= 0.98 * len(words)


def test_characters_are_transliterated(tmp_path_factory):
    run = trained(tmp_path_factory, "toy_char")
    assert json.loads((run / "test.json").read_text())["exact_match"]["score"] >= 90


def test_whole_words_with_pretrained_vectors_learn(tmp_path_factory):
    run = trained(tmp_path_factory, "toy_word")
    assert json.loads((run / "test.json").read_text())["bleu"]["score"] >= 90


FORGETS = "from seq2seq.training import resume\nresume._restore_random_state = lambda *_: None\n"


@pytest.mark.parametrize(("broken", "code"), [("", 0), (FORGETS, 1)], ids=["whole", "broken"])
def test_a_run_killed_five_times_ends_with_the_same_weights(tmp_path, broken, code):
    """As long as nothing is forgotten: where the random numbers are not put back, the script must see it."""
    (tmp_path / "sitecustomize.py").write_text(broken)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    command = [sys.executable, str(ROOT / "scripts/soak.py"), "--kills", "5"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == code, done.stdout + done.stderr
    assert "\n5 kills, " in done.stdout
    assert "damaged: 0\n" in done.stdout
    assert ("the same to the bit: best, last (step-000157, " in done.stdout) == (code == 0)
    assert ("FAULT: the metrics differ, first in " in done.stdout) == (code == 1)


def test_the_selftest_passes_as_a_user_runs_it(tmp_path):
    """From a folder without the repository; and nothing of it stays."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "seq2seq", "selftest"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout
    assert re.findall(r"^(\w+) +ok ", done.stdout, re.MULTILINE) == ["parts", "learn", "resume", "refuse", "processes"]
    assert "\neverything works, in " in done.stdout
    assert not done.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("seq2seq-selftest")]
