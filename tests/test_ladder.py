"""`make quality`: the rows are made once, in their order, and a row's numbers are those of its runs."""

import importlib.util
import json
from pathlib import Path
from statistics import mean, stdev

import pytest
import yaml
from tiny import write_config

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("ladder", ROOT / "scripts" / "ladder.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    return module


def rows_of(script, tmp_path, rows):
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump(rows, sort_keys=False))
    return script.read_rows(tmp_path / "rows.yaml")


def test_a_row_makes_what_it_needs_once_and_its_numbers_are_those_of_its_runs(script, tmp_path, monkeypatch, capsys):
    config = str(write_config(tmp_path, training={"max_updates": 5}))
    rows = rows_of(
        script,
        tmp_path,
        {
            "plain": {"step": "plain", "config": config, "set": ["search.beam=2"], "seeds": [1, 2]},
            "tuned": {"step": "tuned", "of": "plain", "after": "tune {run} --beams 1 --length-penalties 0"},
            "both": {"step": "together", "together": ["tuned"], "search": "--mbr --beam 2"},
            "student": {
                "step": "distilled",
                "needs": ["both", "plain"],
                "before": "distill {plain} --output {folder}/text",
                "config": config,
                "set": ["data.train=[{path: {folder}/text, weight: 2}]"],
            },
        },
    )
    commands, real = [], script.seq2seq
    monkeypatch.setattr(script, "seq2seq", lambda words: commands.append(words[0]) or real(words))

    # means and deviations of the runs
    table = script.measure(rows, "tuned")
    assert commands == ["train"] * 2 + ["tune"] * 2 + ["evaluate"] * 4
    bleu = [
        json.loads((tmp_path / f"runs/quality/tuned/seed-{seed}/test.json").read_text())["bleu"]["score"]
        for seed in (1, 2)
    ]
    assert f"| {mean(bleu):.2f} ± {stdev(bleu):.2f} |" in table
    assert "- Seed 1, 2; BLEU " in table
    assert "tok:13a" in table

    # the copies are tuned, not the runs of the row before; nothing is done twice
    beams = [script.Run.open(Path(f"runs/quality/{name}/seed-2")).config().search.beam for name in ("plain", "tuned")]
    assert beams == [2, 1]
    commands.clear()
    assert script.measure(rows, "tuned") == table
    assert commands == []

    # several runs together, and a row that learns from them
    assert "±" not in script.measure(rows, "both")
    assert commands == ["evaluate"] * 2
    script.measure(rows, "student")
    assert commands[2:] == ["distill", "train", "evaluate", "evaluate"]
    assert script.Run.open(Path("runs/quality/student/seed-1")).config().data.corpora[0].path.endswith("student/text")


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"of": "both"}, "second: both has no runs of its own; name one of first"),
        ({"config": "a.yaml", "of": "first"}, "second: give one of config, of and together"),
        ({"of": "third"}, "second needs third, which must stand above it"),
        ({"of": "first", "aftr": "tune"}, "aftr"),
    ],
)
def test_a_wrong_row_is_named(script, tmp_path, row, error):
    above = {"first": {"step": "", "config": "a.yaml"}, "both": {"step": "", "together": ["first"]}}
    with pytest.raises(SystemExit, match=error):
        rows_of(script, tmp_path, above | {"second": {"step": "", **row}})


def test_the_rows_of_the_repository_name_configs_that_are_valid(script):
    from seq2seq.config import load_config

    for row in script.read_rows(script.ROWS).values():
        if row.config:
            load_config(ROOT / row.config, [script.fill_in(each, {"folder": "runs/quality/row"}) for each in row.set])
