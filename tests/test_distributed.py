"""Several processes, started by torchrun, do the same training as one."""

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest
import torch
from faults import killed_before
from safetensors.torch import load_file
from test_batches import count_batches, random_pairs
from tiny import write_config

from seq2seq.config import load_config
from seq2seq.data.batches import Batches, Position
from seq2seq.runs.run import Run
from seq2seq.training.processes import _agree_on_name
from seq2seq.training.train import train

NO_DROPOUT = {
    "embedding_size": 24,
    "dropout": 0.0,
    "encoder": {"cell": "gru", "hidden_size": 24},
    "decoder": {"cell": "gru", "hidden_size": 24},
}


def torchrun(processes, *command, restarts=0, environment=None):
    """Processes that torchrun starts; `--` because torchrun takes a later --run for one of its own options."""
    options = ["--standalone", "--nproc-per-node", str(processes), "--max-restarts", str(restarts)]
    run = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "--", "seq2seq", *map(str, command)]
    environment = environment or os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finished(process, code=0):
    out, errors = process.communicate()
    assert process.returncode == code, errors
    return out, errors


def weights(run):
    return load_file(Run(run).checkpoints.named("last").path / "model.safetensors")


def timeless(run):
    times = ("seconds", "tokens_per_second")
    return [{key: value for key, value in record.items() if key not in times} for record in Run(run).metrics.records()]


def position(run):
    return run.checkpoints.named("last").training_state()["progress"]["position"]


def close(run, other):
    ours, theirs = weights(run), weights(other)
    return all(torch.allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-5) for name in ours)


def same(run, other):
    ours, theirs = weights(run), weights(other)
    watched, theirs_watched = (Path(each, "attention.jsonl").read_bytes() for each in (run, other))
    is_same = all(torch.equal(ours[name], theirs[name]) for name in ours)
    return is_same and timeless(run) == timeless(other) and watched == theirs_watched


@pytest.mark.parametrize("size", [1, 2, 3])
def test_processes_share_the_batches_without_overlap_and_none_is_left_out(size):
    """Also where the batches of an epoch cannot be divided among them."""
    batches = Batches(random_pairs(40), 200, "tokens", seed=1)
    epoch = count_batches(batches)
    rounds = -(-2 * epoch // size)
    alone = [batch.src for _, batch in islice(batches.stream(Position()), rounds * size)]
    shares = [list(islice(batches.stream(Position(), rank, size), rounds)) for rank in range(size)]
    dealt = [share[turn][1].src for turn in range(rounds) for share in shares]
    assert all(torch.equal(a, b) for a, b in zip(dealt, alone, strict=True))
    assert all(len({share[turn][0] for share in shares}) == 1 for turn in range(rounds))  # all stand at the same place
    again = [next(batches.stream(shares[0][2][0], rank, size))[1].src for rank in range(size)]
    assert all(torch.equal(a, share[3][1].src) for a, share in zip(again, shares, strict=True))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_take_the_steps_of_one_with_the_same_global_batch(tmp_path, accumulate):
    """The number of batches an epoch is odd: the last one goes with the first of the next epoch, and nothing hangs."""
    training = {"accumulate": accumulate, "clip_norm": 0.3, "batch_tokens": 96}
    path = write_config(tmp_path, model=NO_DROPOUT, training=training)
    finished(torchrun(2, "train", path, "--run", tmp_path / "two"))
    one = train(load_config(path, [f"training.accumulate={2 * accumulate}"]), tmp_path / "one")
    assert close(tmp_path / "two", one.path)
    for ours, theirs in zip(Run(tmp_path / "two").metrics.records(), one.metrics.records(), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    positions = [
        run.checkpoints.named("last").training_state()["progress"]["position"] for run in (Run(tmp_path / "two"), one)
    ]
    assert positions[0] == positions[1]
    assert positions[0]["epoch"] > 1


def test_one_process_alone_writes_and_prints(tmp_path):
    path = write_config(tmp_path, training={"max_updates": 10})
    out, _ = finished(torchrun(2, "train", path, "--run", tmp_path / "run"))
    assert len(re.findall("^training ended", out, re.MULTILINE)) == 1
    assert len(re.findall("^The model is in", out, re.MULTILINE)) == 1
    assert [record["update"] for record in Run(tmp_path / "run").metrics.records()] == [*range(1, 11), 10]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at the threads in /proc")
def test_no_thread_of_the_processes_talk_is_left_when_a_training_has_ended(tmp_path):
    """It would meet the end of Python, and abort the process."""
    path = write_config(tmp_path, training={"max_updates": 3})
    script = tmp_path / "script.py"
    script.write_text(f"""
import os, pathlib, seq2seq
seq2seq.train({str(path)!r}, run={str(tmp_path / "run")!r})
threads = [comm.read_text() for comm in pathlib.Path("/proc/self/task").glob("*/comm")]
pathlib.Path({str(tmp_path)!r}, "threads-" + os.environ["RANK"]).write_text("".join(threads))
""")
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    subprocess.run(run, capture_output=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    for rank in range(2):
        threads = (tmp_path / f"threads-{rank}").read_text().split()
        assert threads
        assert not any("gloo" in name for name in threads)


def test_a_mistake_ends_all_processes_with_one_line(tmp_path):
    path = write_config(tmp_path)
    (tmp_path / "test.de").write_text("one line\n")
    _, errors = finished(torchrun(2, "train", path, "--run", tmp_path / "run"), code=1)
    assert len(re.findall(r"seq2seq: error: .*test\.de has 1", errors)) == 1
    assert re.search(r"exitcode +: 2", errors)
    assert not (tmp_path / "run").exists()


def test_processes_agree_on_a_name_whatever_earlier_ones_have_left():
    """torchrun keeps its store when it starts processes again."""
    store = torch.distributed.HashStore()

    def attempt(size):
        with ThreadPoolExecutor(size) as pool:
            names = [pool.submit(_agree_on_name, store, rank, size) for rank in range(size)]
            return {name.result() for name in names}

    for rank in (1, 2):
        store.set(f"asks/{rank}", "someone who died before there was an answer")
    agreed = [attempt(3), attempt(3), attempt(2), attempt(3)]
    assert all(len(names) == 1 for names in agreed)
    assert len(set.union(*agreed)) == 4


LONG = {"max_updates": 100_000, "validate_every": 10, "patience": 0}


def begun(process, run):
    """When there is a checkpoint."""
    while not (run / "last").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def worker_of(process, rank):
    """The process number of a worker of torchrun: of its children the one whose rank this is."""
    for children in Path(f"/proc/{process.pid}/task").glob("*/children"):
        for child in children.read_text().split():
            if f"\0RANK={rank}\0".encode() in Path(f"/proc/{child}/environ").read_bytes():
                return int(child)
    raise AssertionError("no such worker")


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_makes_the_job_restart_from_the_last_checkpoint(tmp_path, rank):
    path = write_config(tmp_path, training={"validate_every": 10, "patience": 0})
    finished(torchrun(2, "train", path, "--run", tmp_path / "whole"))
    environment = killed_before(tmp_path / "kill", "seq2seq.training.train", "update", 15, rank)
    again = ("--run", tmp_path / "run", "--resume")
    out, _ = finished(torchrun(2, "train", path, *again, restarts=1, environment=environment))
    assert "going on after update 10" in out
    assert same(tmp_path / "run", tmp_path / "whole")  # with dropout: each process has its own random numbers back


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the worker in /proc")
@pytest.mark.parametrize("to", ["torchrun", "a worker", "all"])
def test_a_signal_saves_and_stops_all_at_the_same_update(tmp_path, to):
    """Also where only one of them gets it, or each of them and torchrun, which sends them another one."""
    path = write_config(tmp_path, training=LONG)
    process = torchrun(2, "train", path, "--run", tmp_path / "run")
    begun(process, tmp_path / "run")
    receivers = {"torchrun": process.pid, "a worker": worker_of(process, 1), "and another": worker_of(process, 0)}
    for receiver in receivers if to == "all" else [to]:
        os.kill(receivers[receiver], signal.SIGTERM)
    _, errors = process.communicate()
    (update,) = re.findall(r"seq2seq: stopped after update ([0-9,]+), which is saved", errors)
    state = Run(tmp_path / "run").checkpoints.find("last").training_state()
    assert state["progress"]["update"] == int(update.replace(",", ""))
    assert len(state["random"]) == 2


def test_another_number_of_processes_goes_on_and_says_what_differs(tmp_path):
    path = write_config(tmp_path, model=NO_DROPOUT, training={"max_updates": 20, "accumulate": 2})
    whole = train(load_config(path, ["training.max_updates=30"]), tmp_path / "whole")
    train(load_config(path), tmp_path / "run")
    longer = ("train", path, "--run", tmp_path / "run", "--resume", "training.max_updates=30")
    out, _ = finished(torchrun(2, *longer, "training.accumulate=1"))  # the same batches an update: no change to allow
    assert "processes: 2, before: 1; so batches an update (training.accumulate x processes): 2, and dropout" in out
    assert close(tmp_path / "run", whole.path)
