"""scripts/gpu/check.sh in its form for a CPU: every section runs, and the file is complete at any time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FIGURES = {  # a case of each section, and the figures that it must have
    "truths": ("resumed run, input feeding, deterministic algorithms", ("same_bits", "error of scores on the CPU")),
    "peak": ("fp32", ("tflops", "rows")),
    "training": ("tiny, stepwise, fp32", ("tokens_per_second", "mflop_per_token", "tflops", "share_of_peak")),
    "search": ("bf16: tiny, 8 sentences", ("fp32", "bf16", "ratio", "different")),
    "fast parts": ("own cells: tiny, stepwise, fp32", ("torch", "own", "ratio")),
    "parts of an update": ("tiny, fused, fp32", ("encoder_ms", "recurrence_ms", "waiting")),
    "search with graphs": ("tiny, input feeding, 8 sentences", ("eager", "graphs", "ratio")),
    "decoder with graphs": ("tiny, stepwise, fp32", ("operations", "graph", "ratio")),
}

pytestmark = pytest.mark.slow


def check(out, *options):
    command = [ROOT / "scripts/gpu/check.sh", "--device", "cpu", "--tiny", "--out", out, *options]
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done, json.loads(out.read_text(encoding="utf-8"))


def test_all_sections_run_without_a_failure(tmp_path):
    done, report = check(tmp_path / "check.json")
    assert (done.returncode, report["failures"], report["skipped"]) == (0, [], []), done.stderr
    assert {"torch", "processor", "device", "commit", "seconds"} <= report.keys()
    for section, (case, figures) in FIGURES.items():
        results = report["sections"][section]
        assert {result["status"] for result in results.values()} <= {"done", "refused"}
        assert results[case]["status"] == "done"
        assert results[case].keys() >= set(figures)
        assert f"{section}: " in done.stdout
    assert not any(result["different"] for result in report["sections"]["search with graphs"].values())
    assert report["sections"]["truths"]["resumed run"]["same_bits"]


def test_out_of_time_every_case_is_named_and_the_file_is_complete(tmp_path):
    done, report = check(tmp_path / "check.json", "--budget", "-1")
    assert done.returncode == 0
    results = [result for section in report["sections"].values() for result in section.values()]
    assert {result["status"] for result in results} == {"skipped"}
    assert len(report["skipped"]) == len(results)
    assert report["sections"].keys() >= FIGURES.keys()


def test_a_device_that_is_not_there_is_one_line(tmp_path):
    command = [sys.executable, ROOT / "scripts/gpu/check.py", "--device", "cuda:99", "--out", tmp_path / "check.json"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "cuda:99" in done.stderr
