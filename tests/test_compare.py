"""Comparisons: the grid, which trials are trained, the numbers of the table, the difference of two runs."""

import csv
import importlib
import json
import re
import shutil
from statistics import median

import pytest
import sacrebleu
from tiny import write_config

from seq2seq.commands.main import main
from seq2seq.config import load_config
from seq2seq.errors import UserError
from seq2seq.evaluation.significance import compare_runs, paired_bootstrap
from seq2seq.experiments.table import FIELDS, MEASURES, Row, Table
from seq2seq.experiments.trials import compare, make_grid
from seq2seq.files import locked
from seq2seq.plots.comparison import save_comparison
from seq2seq.runs.run import Run

module = importlib.import_module("seq2seq.experiments.trials")

SCORES = "model.attention.score=dot,general"
QUICK = ["training.max_updates=2", "training.validate_every=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def config(folder):
    return write_config(folder)


@pytest.fixture(scope="module")
def finished(folder, config):
    """A finished comparison: two scores, two seeds."""
    compare(make_grid(config, QUICK, [SCORES], 2), folder / "finished", ["seq2seq", "compare"])
    return folder / "finished"


@pytest.fixture
def comparison(finished, tmp_path):
    """A copy of it, to change."""
    return shutil.copytree(finished, tmp_path / "comparison")


@pytest.fixture
def trained(monkeypatch):
    """The names of the trials that are trained, in order."""
    names, real = [], module.train

    def train(config, path, **options):
        names.append(path.name)
        return real(config, path, **options)

    monkeypatch.setattr(module, "train", train)
    return names


def table_csv(folder):
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def names(grid):
    return [trial.name for trial in grid.trials]


# ---------------------------------------------------------------------------------------------------------- the grid


def test_the_grid_is_every_combination_with_every_seed_and_the_last_key_changes_fastest(config):
    grid = make_grid(config, ["seed=7"], [SCORES, "search.beam=1,2"], 2)
    assert names(grid) == [
        f"score={score},beam={beam},seed={seed}" for score in ("dot", "general") for beam in (1, 2) for seed in (7, 8)
    ]
    last = grid.trials[-1].config
    assert (last.model.attention.score, last.search.beam, last.seed) == ("general", 2, 8)


def test_a_value_is_yaml_and_its_commas_do_not_split(config):
    varied = [
        "model.encoder={cell: gru, hidden_size: 24},{cell: lstm, hidden_size: 24}",
        'data.train="a,b", c',
        "search.max_length=null",
    ]
    grid = make_grid(config, [], varied, 1)
    found = [(trial.config.model.encoder.cell, trial.config.data.train) for trial in grid.trials]
    assert found == [("gru", "a,b"), ("gru", "c"), ("lstm", "a,b"), ("lstm", "c")]


def test_names_of_folders_are_safe_and_differ(config):
    grid = make_grid(config, [], ["data.train=a/b,a b,../x"], 1)
    assert len(set(names(grid))) == 3
    for name in names(grid):
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789=,.-_")
        assert not name.startswith(".")


def test_keys_that_end_alike_are_told_apart(config):
    grid = make_grid(config, [], ["model.encoder.cell=gru", "model.decoder.cell=lstm", "search.beam=2"], 1)
    assert names(grid) == ["encoder.cell=gru,decoder.cell=lstm,beam=2,seed=3"]


def test_a_value_that_is_wrong_by_itself_is_an_error_before_anything_is_trained(config):
    says = "a value to try is wrong: training.learning_rate is 'abc'; it must be a number; nothing was trained"
    with pytest.raises(UserError, match=says):
        make_grid(config, [], ["training.learning_rate=1e-3,abc"], 1)


def test_a_combination_that_is_no_config_is_left_out_with_the_reason(config):
    grid = make_grid(config, [], [SCORES, "model.encoder.hidden_size=24,48"], 1)
    assert names(grid) == [
        "score=dot,hidden_size=24,seed=3",
        "score=general,hidden_size=24,seed=3",
        "score=general,hidden_size=48,seed=3",
    ]
    assert list(grid.left_out) == ["score=dot,hidden_size=48"]
    assert "dot needs model.encoder.hidden_size (48) equal" in grid.left_out["score=dot,hidden_size=48"]


@pytest.mark.parametrize(
    ("overrides", "varied", "seeds", "message"),
    [
        ([], ["model.attention.scor=dot"], 1, "a value to try is wrong: .*scor is not a key; did you mean"),
        ([], ["model.attention.score=dto"], 1, "a value to try is wrong: .*did you mean dot"),
        ([], ["model.attention.score"], 1, "no values"),
        ([], ["model.attention.score=[dot"], 1, "--vary model.attention.score=\\[dot: "),
        ([], ["search.beam=1]: [2"], 1, "no values"),
        ([], ["=dot,general"], 1, "--vary '=dot,general' has no key"),
        ([], [SCORES, SCORES], 1, "given twice"),
        ([], ["model.attention.score=general,luong"], 1, "score=general,seed=3 and score=luong,seed=3 are the same"),
        ([], ["seed=1,2"], 1, "--seeds N"),
        ([], ["data.dev=a,b"], 1, "same dev set"),
        ([], [SCORES], 0, "--seeds is 0"),
        ([], [SCORES], 10**12, "--seeds is 1000000000000, and --vary has . combinations; .*not over 10,000 trainings"),
        ([], ["search.beam=" + "1," * 9000], 1, "--vary search.beam=1,.*: more than 2,000 values"),
        ([], ["search.beam=" + "[" * 5000], 1, "nested too deep"),
        (["model.attention.score=dot"], [SCORES], 1, "both set .* and varied"),
    ],
)
def test_a_mistake_in_the_grid_is_an_error_of_one_line(config, overrides, varied, seeds, message):
    with pytest.raises(UserError, match=message) as error:
        make_grid(config, overrides, varied, seeds)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------- which trials are trained


def test_a_trial_is_an_ordinary_run_with_its_seed_and_value(finished):
    run = Run.open(finished / "score=dot,seed=4")
    assert (run.config().seed, run.config().model.attention.score) == (4, "dot")
    assert run.checkpoints.named("last").name == "step-000002"
    assert (run.path / "dev.json").exists()


def test_a_finished_trial_is_neither_trained_nor_measured_again(config, comparison, trained, monkeypatch):
    monkeypatch.setattr(module, "evaluate", None)
    before = (comparison / "table.csv").read_text()
    compare(make_grid(config, QUICK, [SCORES], 2), comparison, ["again"])
    assert trained == []
    assert (comparison / "table.csv").read_text() == before


def test_more_values_and_seeds_train_only_what_is_new(config, comparison, trained):
    compare(make_grid(config, QUICK, ["model.attention.score=dot,cosine,general"], 3), comparison, [])
    seeds = [f"score={score},seed={seed}" for score in ("dot", "cosine", "general") for seed in (3, 4, 5)]
    assert trained == [name for name in seeds if "cosine" in name or "seed=5" in name]
    rows = table_csv(comparison)
    assert [row["name"] for row in rows] == seeds


def test_a_stopped_comparison_has_the_finished_rows_and_goes_on(config, tmp_path, trained, monkeypatch):
    grid = make_grid(config, QUICK, [SCORES], 2)
    real = module.evaluate

    def interrupted(*args, **options):
        if len(trained) == 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(module, "evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compare(grid, tmp_path / "stopped", [])
    rows = table_csv(tmp_path / "stopped")
    assert [row["name"] for row in rows] == names(grid)[:2]
    metrics = (tmp_path / "stopped" / names(grid)[2] / "metrics.jsonl").read_bytes()
    compare(grid, tmp_path / "stopped", [])
    assert trained == [*names(grid)[:3], *names(grid)[2:]]
    assert (tmp_path / "stopped" / names(grid)[2] / "metrics.jsonl").read_bytes() == metrics  # trained, not measured
    assert len(table_csv(tmp_path / "stopped")) == 4


def test_a_training_that_fails_is_left_out_and_the_others_go_on(config, tmp_path):
    grid = make_grid(config, ["training.max_updates=2"], ["data.max_length=1,50"], 1)
    table = compare(grid, tmp_path / "short", [])
    assert [row.values for row in table.rows] == [("50",)]
    assert "no sentence pair is left" in table.left_out["max_length=1,seed=3"]
    assert "Left out: max_length=1,seed=3: " in (tmp_path / "short" / "table.md").read_text()


def test_when_every_training_fails_the_reason_is_the_error(config, tmp_path):
    grid = make_grid(config, [], ["data.max_length=1,2"], 1)
    with pytest.raises(UserError, match=r"every training failed; .*no sentence pair is left"):
        compare(grid, tmp_path / "short", [])


@pytest.mark.parametrize(
    ("overrides", "varied", "seeds", "message"),
    [
        (["search.beam=2"], [SCORES], 2, r"it has search\.beam=3, not 2"),
        (["seed=4"], [SCORES], 2, "it has seed=3, but now the values are 4, 5"),
        ([], [SCORES], 1, "it has seed=4, but now the values are 3"),
        ([], ["model.attention.score=dot,concat"], 2, r"it has model\.attention\.score=general, but now"),
        ([], ["search.length_penalty=0,1"], 2, r"it varies model\.attention\.score, not search\.length"),
    ],
)
def test_a_folder_of_another_comparison_is_refused_by_the_difference(
    config, comparison, trained, overrides, varied, seeds, message
):
    before = (comparison / "compare.json").read_bytes()
    with pytest.raises(UserError, match=message):
        compare(make_grid(config, [*QUICK, *overrides], varied, seeds), comparison, [])
    assert (comparison / "compare.json").read_bytes() == before
    assert trained == []


def test_data_that_have_changed_are_refused(tmp_path):
    config = write_config(tmp_path)
    grid = make_grid(config, QUICK, ["search.beam=2"], 1)
    compare(grid, tmp_path / "c", [])
    with (tmp_path / "dev.de").open("a") as tgt, (tmp_path / "dev.en").open("a") as src:
        src.write("cat\n")
        tgt.write("Katze\n")
    with pytest.raises(UserError, match=r"the files of data\.dev have changed"):
        compare(grid, tmp_path / "c", [])


@pytest.mark.parametrize("varied", [SCORES, "data.train=train,trian"])
def test_a_missing_data_file_is_one_error_before_anything_is_written(tmp_path, trained, monkeypatch, varied):
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path)
    wrong = [] if "trian" in varied else ["data.train=trian"]
    with pytest.raises(UserError, match=r"^no corpus at trian: "):
        compare(make_grid(config, [*QUICK, *wrong], [varied], 2), tmp_path / "c", [])
    assert not (tmp_path / "c").exists()
    assert trained == []


def test_a_folder_in_which_nothing_was_trained_is_free_for_another_comparison(config, tmp_path, trained):
    with pytest.raises(UserError, match="every training failed"):
        compare(make_grid(config, ["data.max_length=1"], [SCORES], 1), tmp_path / "c", [])
    (tmp_path / "c" / "compare.json").write_text("{")
    compare(make_grid(config, QUICK, [SCORES], 1), tmp_path / "c", [])
    assert trained[2:] == ["score=dot,seed=3", "score=general,seed=3"]
    assert len(table_csv(tmp_path / "c")) == 2


def test_a_damaged_compare_json_is_an_error_that_names_it_and_deleting_it_helps(config, comparison, trained):
    grid, whole = make_grid(config, QUICK, [SCORES], 2), json.loads((comparison / "compare.json").read_text())
    for damage in ({"vary": [1]}, {"vary": {"a": 1}}, {"seeds": 3}, {"data": {"train": {}}}, {"config": []}):
        (comparison / "compare.json").write_text(json.dumps(whole | damage))
        with pytest.raises(UserError, match=r"compare\.json: damaged.*; delete it") as error:
            compare(grid, comparison, [])
        assert "\n" not in str(error.value)
    (comparison / "compare.json").unlink()
    compare(grid, comparison, [])
    assert trained == []


def test_a_key_that_an_earlier_version_did_not_have_was_at_its_default(config, comparison, trained):
    record = json.loads((comparison / "compare.json").read_text())
    del record["config"]["training"]["ema"]
    (comparison / "compare.json").write_text(json.dumps(record))
    compare(make_grid(config, QUICK, [SCORES], 2), comparison, [])
    assert trained == []


@pytest.mark.parametrize("text", ['{"name": "score=dot', "{}", '{"bleu": 5}', "[]"])
def test_a_damaged_trial_json_counts_as_not_measured(config, comparison, trained, text):
    file = comparison / "score=dot,seed=3" / "trial.json"
    before = json.loads(file.read_text())
    file.write_text(text)
    compare(make_grid(config, QUICK, [SCORES], 2), comparison, [])
    assert trained == ["score=dot,seed=3"]
    assert json.loads(file.read_text())["bleu"] == before["bleu"]
    assert len(table_csv(comparison)) == 4


def test_a_trial_whose_other_files_are_damaged_is_left_out_with_the_reason(config, comparison):
    for name in ("score=dot,seed=3", "score=general,seed=4"):
        (comparison / name / "trial.json").unlink()
    (comparison / "score=dot,seed=3" / "environment.json").unlink()
    (comparison / "score=general,seed=4" / "metrics.jsonl").write_text("{\n")
    table = compare(make_grid(config, QUICK, [SCORES], 2), comparison, [])
    assert "environment.json: cannot be read" in table.left_out["score=dot,seed=3"]
    assert "metrics.jsonl, line 1: damaged" in table.left_out["score=general,seed=4"]
    assert len(table_csv(comparison)) == 2


def test_of_two_comparisons_into_one_folder_the_second_is_refused(config, comparison):
    with locked(comparison), pytest.raises(UserError, match=r"another comparison is writing into it; wait for it"):
        compare(make_grid(config, QUICK, [SCORES], 2), comparison, [])


def test_a_run_folder_is_no_place_for_a_comparison(config, finished):
    with pytest.raises(UserError, match="holds a run, not a comparison"):
        compare(make_grid(config, QUICK, [SCORES], 1), finished / "score=dot,seed=3", [])


# --------------------------------------------------------------------------------------------------------- the table


ENVIRONMENT = {"device": "cpu", "processor": "P 5", "cores": 2, "threads": 1, "commit": "abc"}


def result(bleu=10.0, attention_entropy=None, environment=ENVIRONMENT):
    measures = {key: {"score": 50.0, "signature": "s"} for key in MEASURES}
    measures["bleu"] = {"score": bleu, "signature": "s"}
    return (
        dict.fromkeys(FIELDS, 3)
        | measures
        | {"attention_entropy": attention_entropy, "environment": environment, "notes": []}
    )


def table(*rows, left_out=None):
    return Table(["search.beam"], list(rows), [1, 2, 3], left_out or {}, ["seq2seq"], {"training": METRIC})


METRIC = {"early_stopping_metric": "bleu"}


def row_of(markdown, row):
    """One row of a Markdown table, by the headers of its columns."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if "|" in line]
    return dict(zip(lines[0], lines[row + 2], strict=True))


def test_mean_and_sample_standard_deviation_are_those_worked_out_by_hand():
    three = Row(("1",), [result(bleu=10.0), result(bleu=13.0), result(bleu=16.0)])
    assert (three.mean("bleu"), three.spread("bleu")) == (13.0, 3.0)
    shown = row_of(table(three).markdown(), 0)
    assert (shown["seeds"], shown["dev BLEU"], shown["SD"]) == ("3", "**13.00**", "3.00")


def test_the_spread_of_one_seed_and_a_missing_number_are_a_dash():
    shown = row_of(table(Row(("1",), [result()])).markdown(), 0)
    assert (shown["SD"], shown["attention entropy"]) == ("-", "-")
    shown = row_of(table(Row(("1",), [result(attention_entropy=0.25)])).markdown(), 0)
    assert shown["attention entropy"] == "0.250"


def test_the_best_bleu_is_bold_and_no_other():
    rows = [Row((str(i),), [result(bleu=bleu)]) for i, bleu in enumerate((9.0, 11.0, 10.0))]
    markdown = table(*rows).markdown()
    assert [row_of(markdown, i)["dev BLEU"] for i in range(3)] == ["9.00", "**11.00**", "10.00"]


def test_the_numbers_of_the_table_are_those_of_the_runs(finished):
    rows = table_csv(finished)
    assert [row["name"] for row in rows] == [f"score={s},seed={n}" for s in ("dot", "general") for n in (3, 4)]
    for row in rows:
        run = Run.open(finished / row["name"])
        dev, metrics = json.loads((run.path / "dev.json").read_text()), run.metrics.records()
        assert row["model.attention.score"] == run.config().model.attention.score
        assert float(row["bleu"]) == dev["bleu"]["score"]
        assert float(row["sentences_per_second"]) == pytest.approx(12 / dev["seconds"])
        speeds = [record["tokens_per_second"] for record in metrics if record["split"] == "train"]
        assert float(row["tokens_per_second"]) == median(speeds)
        step = run.checkpoints.named("best").update
        [best] = [record for record in metrics if record["split"] == "dev" and record["update"] == step]
        assert float(row["perplexity"]) == best["perplexity"]
        assert (int(row["best_update"]), int(row["updates"])) == (step, 2)
    for line, two in enumerate((rows[:2], rows[2:])):
        a, b = (float(row["chrf"]) for row in two)
        assert row_of((finished / "table.md").read_text(), line)["chrF"] == f"{(a + b) / 2:.2f}"


def test_the_table_names_the_machine_its_threads_and_its_processor():
    other = result(environment={"device": "cuda", "processor": "Q", "cores": 4, "threads": 2, "commit": None})
    markdown = table(Row(("1",), [result(), result(), other])).markdown()
    assert "cpu (P 5, cores: 2, threads: 1); cuda (Q, cores: 4, threads: 2); commit abc, unknown;" in markdown


def test_json_has_everything(finished):
    whole = json.loads((finished / "table.json").read_text())
    assert whole["command"] == ["seq2seq", "compare"]
    assert "tok:13a" in whole["signatures"]["bleu"][0]
    assert whole["environment"]["packages"]["torch"]
    a, b = (found["bleu"]["score"] for found in whole["rows"][0]["trials"])
    assert whole["rows"][0]["mean"]["bleu"] == pytest.approx((a + b) / 2)
    assert whole["rows"][0]["standard_deviation"]["bleu"] == pytest.approx(abs(a - b) / 2**0.5)


def test_the_attention_entropy_is_that_of_the_best_checkpoint(config, comparison):
    run = Run.open(comparison / "score=dot,seed=3")
    best = run.checkpoints.named("best").update
    records = [
        {**record, "attention_entropy": 0.5 if record["update"] == best else 0.9}
        if record["split"] == "dev"
        else record
        for record in run.metrics.records()
    ]
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (run.path / "trial.json").unlink()
    compare(make_grid(config, QUICK, [SCORES], 2), comparison, [])
    assert table_csv(comparison)[0]["attention_entropy"] == "0.5"


def test_without_matplotlib_there_is_a_table_and_no_picture(tmp_path, monkeypatch):
    monkeypatch.setattr("seq2seq.experiments.table.find_spec", lambda name: None)
    table(Row(("1",), [result()])).write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv", "table.json", "table.md"]


def test_the_picture_has_every_label_and_mean(tmp_path):
    save_comparison(tmp_path / "a.svg", "a title", "dev BLEU", ["dot $1$", "일반"], [[1.0, 2.0], [4.0]])
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    for shown in ("a title", "dev BLEU", "dot $1$", "일반", "1.50 ± 0.71", "4.00"):
        assert shown in text, shown


# ------------------------------------------------------------------------------------------------ two runs, or more

REFERENCES = [[f"the {a} {b} sees a {c} dog today" for a in "xyz" for b in ("old", "new") for c in "pqrst"]]
WORSE = [line.replace("sees a", "a saw") if i % 2 else line for i, line in enumerate(REFERENCES[0])]


def test_a_model_does_not_differ_from_itself():
    for test in paired_bootstrap(["a", "b"], [WORSE, WORSE], REFERENCES, lowercase=False):
        assert test.systems[1].p == 1.0
        assert test.verdicts() == [f"b: no difference of {test.metric} from a that this set can show"]


def test_outputs_that_clearly_differ_do_so_in_the_right_direction():
    bleu, chrf = paired_bootstrap(["a", "b"], [WORSE, REFERENCES[0]], REFERENCES, lowercase=False)
    assert (bleu.metric, chrf.metric) == ("BLEU", "chrF")
    assert bleu.systems[0].score == pytest.approx(sacrebleu.corpus_bleu(WORSE, REFERENCES).score)
    assert bleu.systems[0].p is None
    assert bleu.systems[1].p < 0.01
    assert bleu.systems[0].low < bleu.systems[0].score < bleu.systems[0].high < bleu.systems[1].score
    difference = bleu.systems[1].score - bleu.systems[0].score
    assert bleu.verdicts() == [
        f"b is better by {difference:.2f} BLEU; p = 0.001: if the two were equally good, a difference this large would "
        "appear in 1 of 1,000 such tests"
    ]
    [back, _] = paired_bootstrap(["a", "b"], [REFERENCES[0], WORSE], REFERENCES, lowercase=False)
    assert back.verdicts()[0].startswith(f"b is worse by {difference:.2f} BLEU")


def test_the_signature_shows_the_samples_and_the_seed(monkeypatch):
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    [test, _] = paired_bootstrap(["a", "b"], [WORSE, REFERENCES[0]], REFERENCES, lowercase=False)
    assert "bs:1000|seed:12345" in test.signature


def test_runs_are_compared_on_the_test_set_or_on_dev_where_there_is_none(finished, config, tmp_path):
    paths = [finished / f"score={score},seed=3" for score in ("dot", "general")]
    assert compare_runs(paths).split == "test"
    compare(make_grid(config, [*QUICK, "data.test=null"], ["search.beam=2"], 1), tmp_path / "c", [])
    assert compare_runs([paths[0], tmp_path / "c" / "beam=2,seed=3"]).split == "dev"


def test_runs_on_different_lines_are_refused(finished, tmp_path):
    other = write_config(tmp_path)
    (tmp_path / "test.de").write_text("Hund\n" * 12)
    grid = make_grid(other, QUICK, ["search.beam=2"], 1)
    compare(grid, tmp_path / "c", [])
    paths = [finished / "score=dot,seed=3", tmp_path / "c" / "beam=2,seed=3"]
    with pytest.raises(UserError, match="have different test sets"):
        compare_runs(paths)
    assert compare_runs(paths, "dev").split == "dev"


# ------------------------------------------------------------------------------------------------------- the command


def test_the_command_trains_a_grid_and_prints_the_table(config, folder, capsys):
    words = ["compare", str(config), "training.validate_every=2", "--vary", SCORES, "--seeds", "1", "--updates", "4"]
    assert main([*words, "--run", str(folder / "command")]) == 0
    out = capsys.readouterr().out
    assert (folder / "command" / "table.md").read_text() in out
    assert (folder / "command" / "table.png").read_bytes().startswith(b"\x89PNG")
    assert load_config(folder / "command" / "score=dot,seed=3" / "config.yaml").training.max_updates == 4


def test_minutes_set_the_budget_of_each_training(config, folder, monkeypatch):
    grids = []
    monkeypatch.setattr(module, "compare", lambda grid, *args: grids.append(grid) or table(Row(("1",), [result()])))
    assert main(["compare", str(config), "--vary", SCORES, "--minutes", "0.5", "search.beam=2"]) == 0
    [grid] = grids
    assert (grid.base.training.max_minutes, grid.base.training.max_updates, grid.base.search.beam) == (0.5, 30, 2)
    assert grid.seeds == [3, 4, 5]


def test_the_command_tests_the_difference_of_runs(finished, capsys):
    runs = [str(finished / f"score={score},seed=3") for score in ("dot", "general", "general")]
    assert main(["compare", *runs, "--split", "dev"]) == 0
    captured = capsys.readouterr()
    assert "dev set: 12 sentences" in captured.out
    assert captured.out.count("baseline") == 2
    assert captured.out.count(f"{runs[1]}  beam 3, length penalty 0.6  ") == 4  # two systems, two metrics
    assert "search differently" not in captured.out
    assert captured.err == ""


def test_runs_that_search_differently_are_said_to(finished, comparison, capsys):
    a, b = (folder / "score=dot,seed=3" for folder in (finished, comparison))
    file = b / "config.yaml"
    file.write_text(
        file.read_text().replace("length_penalty: 0.6", "length_penalty: 0.0").replace("beam: 3", "beam: 1")
    )
    assert main(["compare", str(a), str(b)]) == 0
    out = capsys.readouterr().out
    assert "The runs search differently (beam, length penalty)" in out
    assert re.search(rf"{re.escape(str(a))} +beam 3, length penalty 0\.6 ", out)
    assert re.search(rf"{re.escape(str(b))} +beam 1, length penalty 0 ", out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{config}"], "--vary is missing"),
        (["{config}", "{run}", "--vary", SCORES], "to compare runs give run folders alone"),
        (["{config}", "--vary", SCORES, "--split", "dev"], "--split is for runs"),
        (["{config}", "--vary", SCORES, "--updates", "1", "--minutes", "1"], "give one of them"),
        (["{config}", "training.max_updates=2", "--vary", SCORES, "--updates", "1"], "--updates sets"),
        (["{config}", "--vary", "training.max_updates=2,3", "--updates", "1"], "both set .* and varied"),
        (["{run}"], "alone cannot be compared"),
        (["{run}", "{config}"], "a file; give the folder of a run"),
        (["{run}", "nowhere"], "nowhere: not a run folder"),
        (["{run}", "{run}", "--vary", SCORES], "--vary is for a config"),
        (["{run}", "{run}", "--seeds", "0"], "--seeds is for a config"),
        (["{run}", "{run}", "--minutes", "0"], "--minutes is for a config"),
        (["{config}", "--vary", SCORES, "--minutes", "0"], "training.max_minutes is 0"),
        ([".", "--vary", SCORES], r"\.: a folder without a config\.yaml; give a YAML file, or two or more run folders"),
        (["nowhere.yaml", "--vary", SCORES], "nowhere.yaml: "),
    ],
)
def test_a_contradiction_is_an_error_of_one_line(config, finished, words, message, capsys, monkeypatch):
    monkeypatch.chdir(finished)
    run = str(finished / "score=dot,seed=3")
    assert main(["compare", *(word.format(config=config, run=run) for word in words)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(message, line), line
