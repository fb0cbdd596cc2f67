"""The other configs, the selftest and the soak. `make test-all` runs them: minutes each."""

import json
import os
import re
import subprocess
import sys

import pytest
from trainings import ROOT, trained

pytestmark = pytest.mark.slow


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
    assert ("FAULT: another end than without kills: " in done.stdout) == (code == 1)


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
