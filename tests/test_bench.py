"""`seq2seq bench`: each second and each operation where it belongs, advice where it is deserved, nothing changed."""

import copy
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from random_model import random_model
from tiny import write_config
from torch.utils.flop_counter import FlopCounterMode

from seq2seq.commands.main import main
from seq2seq.config import TrainingConfig, load_config
from seq2seq.data.batches import Batches, Position, make_batch
from seq2seq.fast.cells import OneAtATime
from seq2seq.profiling import bench as measuring
from seq2seq.profiling.bench import bench
from seq2seq.profiling.clock import Clock, TimedBatches, watched
from seq2seq.profiling.products import operations, products, seconds_alone, square
from seq2seq.profiling.profile import PARTS, Part, Profile, advice, parts_of, report
from seq2seq.text.tokenizer import EOS, PAD
from seq2seq.training.progress import Progress
from seq2seq.training.train import updates
from seq2seq.training.update import make_optimizer, update

TRAINING = TrainingConfig(clip_norm=1.0)
TRANSFORMER = {"score": "multi_head", "embedding_size": 8, "decoder": {"type": "transformer"}}
SELF_ATTENTION = {"embedding_size": 8, "encoder": {"type": "self_attention"}}
KINDS = {
    "luong": {},
    "input feeding": {"decoder": {"input_feeding": True}},
    "bahdanau": {"score": "concat", "cell": "gru", "decoder": {"type": "bahdanau"}},
    "coverage": {"score": "concat", "attention": {"coverage": True}},
    "recomputed": {"score": "concat", "attention": {"chunk_size": 2}},
    "layers": {"cell": "rnn", "encoder_layers": 2, "decoder_layers": 2, "residual": True},
    "tied": {"tie": "all"},
    "no attention": {"score": "none"},
    "cosine": {"score": "cosine"},
    "window": {"attention": {"window": "local_p"}},
    "self-attention encoder": SELF_ATTENTION,
    "self-attention on top": {"encoder": {"self_attention_layers": 1}},
    "transformer": TRANSFORMER,
    "transformers": {**TRANSFORMER, **SELF_ATTENTION},
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
PAIRS = [([5, 7, 6, 8, EOS], [4, 9, EOS]), ([9, 5, EOS], [8, 8, 6, 5, 10, EOS]), ([4, EOS], [EOS])]
LENGTHS = [(len(src), len(tgt)) for src, tgt in PAIRS]


def weights(model):
    return [weight.detach().clone() for weight in model.parameters()]


def updated(model, clock=None):
    """The weights after two updates of two batches each."""
    torch.manual_seed(1)
    training = TRAINING.model_copy(update={"max_updates": 2, "accumulate": 2, "batch_tokens": 12})
    optimizer = make_optimizer(training, model)
    batches = Batches(PAIRS, 12, "tokens", seed=1)
    if clock is None:
        list(updates(training, model, optimizer, batches.stream(Position()), Progress(), torch.device("cpu")))
    else:
        with watched(model, optimizer, clock):
            timed = TimedBatches(batches, clock).stream(Position())
            list(updates(training, model, optimizer, timed, Progress(), torch.device("cpu")))
            clock.enter("other")
    return weights(model)


# ------------------------------------------------------------------------------------------------------- the clock


@each_kind
def test_no_time_is_lost_between_the_parts_and_all_that_a_model_has_are_there(kind):
    reading = itertools.count()
    clock = Clock(lambda: next(reading))
    updated(random_model(**kind), clock)
    assert sum(clock.seconds.values()) == next(reading) - 1
    recurrent = kind.get("decoder") != {"type": "transformer"}
    expected = {"data", "encoder", "recurrence" if recurrent else "self_attention", "attention", "rest"}
    assert {part for part, _ in clock.seconds} == expected | {"vocabulary", "optimizer", "other"}
    for part in expected - {"data"} - ({"attention"} if kind.get("score") == "none" else set()):
        assert {way for name, way in clock.seconds if name == part} == {"forward", "backward"}


@each_kind
def test_a_clock_changes_nothing_of_what_is_learned_and_leaves_no_hook(kind):
    model = random_model(**kind)
    watched_model = copy.deepcopy(model)
    expected = updated(model)
    for a, b in zip(expected, updated(watched_model, Clock(lambda: 0.0)), strict=True):
        assert torch.equal(a, b)
    for module in watched_model.modules():
        assert not {**module._forward_hooks, **module._forward_pre_hooks}


class Passing(torch.autograd.Function):
    """Time that passes: 1 forward, 10 backward."""

    time = 0

    @staticmethod
    def forward(ctx, x):
        Passing.time += 1
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        Passing.time += 10
        return gradient


def slowed(module, method="forward"):
    """Let time pass whenever a module has made its first result."""
    made = getattr(module, method)

    def slow(*args):
        out = made(*args)
        return (Passing.apply(out[0]), *out[1:]) if isinstance(out, tuple) else Passing.apply(out)

    setattr(module, method, slow)


@pytest.mark.parametrize("kind", ["luong", "input feeding", "bahdanau", "layers"])
@pytest.mark.parametrize(
    ("part", "module", "method"),
    [
        ("encoder", "encoder.embedding", "forward"),
        ("recurrence", "decoder.recurrent", "forward"),
        ("attention", "decoder.attention", "merge"),
        ("attention", "decoder.attention", "forward"),
        ("rest", "decoder.W_c", "forward"),
        ("rest", "decoder.bridge", "forward"),
    ],
)
def test_time_belongs_to_the_part_that_spends_it_forward_and_backward(monkeypatch, kind, part, module, method):
    model = random_model(**KINDS[kind])
    once = kind in ("luong", "layers") or "encoder" in module or "bridge" in module
    times = 1 if once else 6  # of the longest target
    if module == "decoder.recurrent" and not once:  # then its cells run
        monkeypatch.setattr(OneAtATime, "__call__", OneAtATime.__call__)  # puts it back afterwards
        slowed(OneAtATime, "__call__")
    else:
        slowed(model.get_submodule(module), method)
    assert passing(model) == {(part, "forward"): times, (part, "backward"): 10 * times}


@pytest.mark.parametrize(
    ("part", "module"),
    [
        ("self_attention", "decoder.layers.0.self_attention"),
        ("attention", "decoder.layers.0.attention"),
        ("attention", "decoder.layers.0.attention.W_k"),
        ("rest", "decoder.layers.0.feed_forward"),
        ("encoder", "encoder.layers.0.self_attention"),
    ],
)
def test_time_of_a_transformer_belongs_to_the_part_that_spends_it(part, module):
    model = random_model(**KINDS["transformers"])
    slowed(model.get_submodule(module))
    assert passing(model) == {(part, "forward"): 1, (part, "backward"): 10}


def test_time_after_the_model_and_before_its_gradient_belongs_to_the_vocabulary():
    inside = random_model()
    slowed(inside.decoder)
    assert passing(inside) == {("rest", "forward"): 1, ("rest", "backward"): 10}
    assert passing(random_model(), outside=True) == {("vocabulary", "both"): 11}


def test_scores_that_are_computed_again_for_their_gradient_are_time_of_the_attention():
    model = random_model(**KINDS["recomputed"])
    slowed(model.decoder.attention, "_formula")
    assert passing(model) == {("attention", "forward"): 3, ("attention", "backward"): 30}  # three chunks of positions


def test_time_of_batches_and_of_the_optimizer_is_theirs():
    class SlowBatches(Batches):
        def stream(self, position):
            for item in super().stream(position):
                Passing.time += 100
                yield item

    model = random_model()
    optimizer, clock = make_optimizer(TRAINING, model), Clock(lambda: Passing.time)
    _, batch = next(TimedBatches(SlowBatches(PAIRS, 12, "tokens", seed=1), clock).stream(Progress().position))
    optimizer.register_step_pre_hook(lambda *_: slow())

    def slow():
        Passing.time += 1000

    with watched(model, optimizer, clock):
        update(model, optimizer, [batch], TRAINING)
        Passing.time += 10_000
        clock.enter("other")
    expected = {("data", "both"): 100, ("optimizer", "both"): 1000, ("other", "both"): 10_000}
    assert {key: time for key, time in clock.seconds.items() if time} == expected


def passing(model, outside=False):
    """Where time passed in an update."""
    batch, optimizer = make_batch(PAIRS), make_optimizer(TRAINING, model)
    clock = Clock(lambda: Passing.time)
    with watched(model, optimizer, clock):
        if outside:
            model.register_forward_hook(lambda _, __, out: (Passing.apply(out[0]), *out[1:]))
        update(model, optimizer, [batch], TRAINING)
        clock.enter("other")
    return {key: time for key, time in clock.seconds.items() if time}


def test_parts_add_up_to_the_whole():
    seconds = {("data", "both"): 1.0, ("encoder", "forward"): 2.0, ("encoder", "backward"): 3.0, ("other", "both"): 4.0}
    assert parts_of(seconds, updates=2) == {
        "data": Part(None, None, 500.0, 0.1),
        "encoder": Part(1000.0, 1500.0, 2500.0, 0.5),
        "other": Part(None, None, 2000.0, 0.4),
    }


# -------------------------------------------------------------------------------------------------- the operations


@pytest.mark.parametrize(("cell", "gates", "parts"), [("rnn", 1, 1), ("gru", 3, 1), ("lstm", 4, 2)])
@pytest.mark.parametrize("hidden", [8, 16])
def test_operations_of_a_recurrent_model_follow_their_formula(cell, gates, parts, hidden):
    size = {"hidden_size": hidden}
    model = random_model("general", cell, tie="none", encoder=size, decoder=size)
    expected = 0
    for s, t in LENGTHS:
        expected += 2 * s * 2 * gates * (hidden // 2) * (6 + hidden // 2)  # encoder: two directions of half the size
        expected += 2 * parts * hidden * parts * hidden  # bridge
        expected += 2 * s * hidden * hidden  # W_a, once a source token
        expected += 2 * t * gates * hidden * (6 + hidden)  # decoder
        expected += 2 * (2 * t * s * hidden)  # scores, and sums of values
        expected += 2 * t * (2 * hidden) * hidden  # W_c
        expected += 2 * t * hidden * 12  # W_y
    assert operations(model, LENGTHS, TRAINING) == pytest.approx(3 * expected)


@each_kind
def test_operations_are_those_of_each_pair_alone_and_padding_has_none(kind):
    model = random_model(**kind)
    alone = [counted(products(model, make_batch([pair]), TRAINING)) for pair in PAIRS]
    together = counted(products(model, make_batch(PAIRS), TRAINING))
    assert operations(model, LENGTHS, TRAINING) == pytest.approx(sum(alone))
    assert together > 1.05 * sum(alone)
    same = [([5, 6, EOS], [4, EOS]), ([6, 9, EOS], [7, EOS])]
    assert operations(model, [(3, 2)] * 2, TRAINING) == counted(products(model, make_batch(same), TRAINING))


def test_operations_without_recurrence_are_those_that_torch_counts():
    model, batch = random_model(**KINDS["transformers"]), make_batch(PAIRS)
    with FlopCounterMode(display=False) as counter:
        attentional, _ = model(batch.src, batch.src_lengths, batch.tgt_in)
        attentional.sum().backward()
    vocabulary = 3 * 2 * batch.tokens * model.decoder.W_y.weight.numel()
    assert counted(products(model, batch, TRAINING)) == counter.get_total_flops() + vocabulary


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_recurrent_products_are_those_of_every_direction_position_and_sentence(cell):
    model = random_model("none", cell, encoder={"bidirectional": True}, encoder_layers=2, decoder_layers=2)
    found = products(model, make_batch(PAIRS), TRAINING)
    expected = 0
    for layers, rows in ((model.encoder.recurrent.layers, 5 + 3 + 2), (model.decoder.recurrent.layers, 3 * 6)):
        for layer in layers:
            matrices = [weight for name, weight in layer.named_parameters() if name.startswith("weight")]
            expected += 3 * 2 * rows * sum(weight.numel() for weight in matrices)
    others = model.decoder.bridge, model.decoder.W_c, model.decoder.W_y
    expected += sum(6 * n * layer.weight.numel() for n, layer in zip((3, 18, 10), others, strict=True))
    assert counted(found) == expected


def test_counting_leaves_the_model_as_it_is():
    model = random_model()
    before, mode = weights(model), model.training
    operations(model, LENGTHS, TRAINING)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    assert model.training == mode
    assert all(weight.grad is None for weight in model.parameters())


def test_every_product_that_is_counted_can_be_timed():
    assert square(8, torch.float32).operations == 2 * 8**3
    for product in products(random_model("multi_head"), make_batch(PAIRS), TRAINING):
        assert seconds_alone(product, torch.device("cpu")) > 0


def counted(found):
    return sum(product.operations * times for product, times in found.items())


# ------------------------------------------------------------------------------------------------------ the advice


def profile(**changes):
    """One that has nothing to be said against it, but for the changes; `shares` of parts go from `encoder` to them."""
    shares = {"data": 0.01, "recurrence": 0.1, "attention": 0.05, "rest": 0.05, "vocabulary": 0.3}
    shares |= changes.pop("shares", {})
    shares = {"encoder": 1 - sum(shares.values()), **shares}
    plain = Profile(
        target="configs/mine.yaml",
        parameters=1000,
        torch="2",
        device="cpu",
        precision="float32",
        threads=2,
        cores=2,
        updates=30,
        sentences=64.0,
        tokens=800.0,
        batch_key="training.batch_tokens",
        padding={"src": 0.01, "tgt": 0.03, "both": 0.02},
        by_tokens=None,
        at_once=None,
        tokens_per_second=8000.0,
        update_ms=[95.0, 100.0, 105.0],
        memory=2**28,
        parts={part: Part(None, None, 100 * share, share) for part, share in shares.items()},
        operations=8e9,
        vocabulary_operations=4e9,
        square=2048,
        square_rates=[150e9, 170e9],
        sample_ms=100.0,
        sample_products_ms=60.0,
        sample_sentence_ms=10.0,
    )
    return replace(plain, **changes)


MUCH, LITTLE = ({"src": 0.1, "tgt": 0.22, "both": share} for share in (0.16, 0.14))
FEEDING = "model.decoder.input_feeding=false"


@pytest.mark.parametrize(
    ("deserved", "not_deserved", "said"),
    [
        (
            {"padding": MUCH, "by_tokens": {"batch_tokens": 960, "padding": 0.07}},
            {"padding": LITTLE, "by_tokens": {"batch_tokens": 960, "padding": 0.07}},
            ["training.batch_type=tokens training.batch_tokens=960", "16%", "7%"],
        ),
        (
            {"padding": MUCH, "by_tokens": {"batch_tokens": 960, "padding": 0.07}},
            {"padding": MUCH, "by_tokens": {"batch_tokens": 960, "padding": 0.16}},
            ["training.batch_type=tokens"],
        ),
        ({"padding": MUCH, "by_tokens": {"batch_tokens": 960, "padding": 0.07}}, {"padding": MUCH}, ["padding"]),
        ({"shares": {"vocabulary": 0.6}}, {"shares": {"vocabulary": 0.45}}, ["tokenizer.vocab_size", "60%", "1.4"]),
        ({"at_once": FEEDING, "shares": {"recurrence": 0.3}}, {"at_once": FEEDING}, [FEEDING, "40%"]),
        ({"at_once": FEEDING, "shares": {"recurrence": 0.3}}, {"shares": {"recurrence": 0.3}}, ["all at once"]),
        ({"shares": {"data": 0.06}}, {"shares": {"data": 0.04}}, ["making batches", "6%"]),
        ({"threads": 1}, {"threads": 1, "device": "cuda"}, ["1 thread on 2 cores", "OMP_NUM_THREADS=2"]),
        ({"threads": 4}, {"threads": 4, "cores": 4}, ["4 threads on 2 cores", "OMP_NUM_THREADS=2"]),
        ({"sample_sentence_ms": 50.0}, {"sample_sentence_ms": 30.0}, ["training.batch_tokens", "50%", "1.3 times"]),
    ],
)
def test_advice_is_given_where_it_is_deserved_and_not_elsewhere(deserved, not_deserved, said):
    (line,) = advice(profile(**deserved))
    for words in said:
        assert words in line
    assert advice(profile(**not_deserved)) == []


def test_a_report_says_what_stands_out_or_that_nothing_does():
    text = "\n".join(report(profile()))
    assert "nothing stands out" in text
    for words in ("8,000 target tokens/s", "10.00 MFLOP", "50% of it", "50% of the rate", "60% of an update"):
        assert words in text
    assert all(PARTS[part] in text for part in profile().parts)
    poor = "\n".join(report(profile(shares={"data": 0.06}, threads=1)))
    assert "nothing stands out" not in poor
    assert poor.count("\n- ") == 2


def test_a_share_of_the_limit_is_a_rate_over_a_rate():
    # 8000 tokens/s at 10 MFLOP each are 80 GFLOP/s, of 160
    assert profile().of_square == pytest.approx(0.5)
    assert profile().of_products == pytest.approx(0.6)


# ----------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def config(folder):
    return write_config(folder, model={"embedding_size": 24, "encoder": {"cell": "gru", "hidden_size": 24}})


@pytest.fixture(scope="module")
def run(folder):
    config = write_config(folder, training={"max_updates": 20, "validate_every": 10})
    assert main(["train", str(config), "--run", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(autouse=True)
def small_square(monkeypatch):
    monkeypatch.setattr(measuring, "SQUARE", 64)


def measured(target, *overrides, updates=2):
    return bench(Path(target), list(overrides), updates)


DECODERS = {
    "luong": [],
    "input feeding": ["model.decoder.input_feeding=true"],
    "bahdanau": ["model.decoder.type=bahdanau"],
    "coverage": ["model.attention.coverage=true", "training.coverage_loss=1.0"],
    "transformer": ["model.decoder.type=transformer", "model.attention.score=multi_head"],
    "self-attention": ["model.encoder.type=self_attention"],
}


@pytest.mark.parametrize("overrides", DECODERS.values(), ids=DECODERS.keys())
def test_every_kind_of_model_is_measured(config, overrides, capsys):
    size = ["model.decoder.hidden_size=24"]
    assert main(["bench", str(config), *size, *overrides, "--updates", "2"]) == 0
    out = capsys.readouterr().out
    for words in ("target tokens/s", "GFLOP", "MiB", "vocabulary and loss", "decoder: attention", "100.0%", "\n- "):
        assert words in out


def test_a_profile_describes_the_batches_that_were_trained_on(config):
    found = measured(config, "training.accumulate=2", updates=3)
    subject = measuring._subject(config, [])
    batches = list(itertools.islice((batch for _, batch in subject.batches.stream(Progress().position)), 16))[10:]
    assert found.tokens == sum(batch.tokens for batch in batches) / 3
    assert found.sentences == sum(len(batch.src) for batch in batches) / 3
    real = sum(int((batch.src != PAD).sum()) for batch in batches)
    assert found.padding["src"] == pytest.approx(1 - real / sum(batch.src.numel() for batch in batches))
    real += sum(batch.tokens for batch in batches)
    there = sum(batch.src.numel() + batch.tgt_in.numel() for batch in batches)
    assert found.padding["both"] == pytest.approx(1 - real / there)
    assert found.by_tokens is None
    assert found.batch_key == "training.batch_tokens"
    assert found.parameters == sum(weight.numel() for weight in subject.model.parameters())
    assert found.updates == 3
    assert sum(part.share for part in found.parts.values()) == pytest.approx(1)


def test_batches_by_sentences_are_compared_with_batches_by_tokens(config):
    keys = ["training.batch_type=sentences", "training.batch_sentences=100"]
    found = measured(config, *keys)
    assert found.batch_key == "training.batch_sentences"
    assert found.by_tokens is not None
    size = f"training.batch_tokens={found.by_tokens['batch_tokens']}"
    subject = measuring._subject(config, ["training.batch_type=tokens", size])
    assert found.by_tokens["padding"] == subject.batches.padding_share()


@pytest.mark.parametrize(
    ("overrides", "change"),
    [
        ([], None),
        (["model.decoder.input_feeding=true"], "model.decoder.input_feeding=false"),
        (["model.decoder.type=bahdanau"], "model.decoder.type=rnn"),
        (
            ["model.decoder.input_feeding=true", "model.attention.convolution=true"],
            "model.decoder.input_feeding=false model.attention.convolution=false",
        ),
    ],
)
def test_what_would_let_a_decoder_take_all_positions_at_once(config, overrides, change):
    assert measuring._at_once(load_config(config, overrides).model) == change
    if change:
        assert measuring._at_once(load_config(config, [*overrides, *change.split()]).model) is None


def test_json_has_the_numbers_and_the_advice(config, capsys):
    assert main(["bench", str(config), "--updates", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["target"] == str(config)
    assert found["updates"] == 2
    assert sum(part["whole"] for part in found["parts"].values()) > 0
    for part in found["parts"].values():
        assert part["forward"] is None or part["forward"] + part["backward"] == pytest.approx(part["whole"])
    assert isinstance(found["advice"], list)
    assert found["of_products"] == pytest.approx(found["sample_products_ms"] / found["sample_ms"])


def content(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def test_a_run_is_measured_with_its_weights_and_not_a_byte_of_it_changes(run, monkeypatch, tmp_path):
    before = content(run)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert measured(run).target == str(run)
    assert content(run) == before
    assert not list(tmp_path.iterdir())


def test_a_config_leaves_nothing_behind(config, monkeypatch, tmp_path):
    before = content(config.parent)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    measured(config, "tokenizer.type=bpe", "tokenizer.vocab_size=400")
    assert content(config.parent) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.yaml"], "nowhere.yaml: No such file"),
        (["CONFIG", "--updates", "0"], "--updates is 0; write 1 or more"),
        (["CONFIG", "model.size=3"], "model.size"),
        (["CONFIG", "training.device=cuda:99"], "cuda:99"),
        (["RUN", "training.batch_tokens=64"], "training.batch_tokens=64"),
        (["FOLDER"], "not a run folder"),
    ],
)
def test_a_mistake_is_one_line(run, config, tmp_path, arguments, said, capsys):
    places = {"CONFIG": config, "RUN": run, "FOLDER": tmp_path}
    assert main(["bench", *(str(places.get(word, word)) for word in arguments)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the system does not tell a peak")
def test_the_peak_of_memory_is_of_what_came_since_it_was_forgotten():
    code = """if True:  # in a process of its own, as a command of this one may have told it to keep freed memory
        import torch
        from seq2seq.profiling import bench

        device, size = torch.device("cpu"), 2**28
        bench._forget_peak(device)
        before = bench._peak(device)
        torch.ones(size, dtype=torch.uint8)
        assert bench._peak(device) - before > 0.9 * size
        bench._forget_peak(device)
        assert bench._peak(device) - before < 0.1 * size
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_help_answers_without_importing_torch():
    code = (
        "import sys\nfrom seq2seq.commands.main import main\n"
        "try: main(['bench', '--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'pydantic', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--updates N" in done.stdout
