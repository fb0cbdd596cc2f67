"""`seq2seq bench`: time and operations where they belong, advice where it is deserved, nothing changed."""

import copy
import hashlib
import itertools
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from random_model import random_model
from tiny import write_config
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import record_function
from torch.utils.flop_counter import FlopCounterMode

from seq2seq.commands.main import main
from seq2seq.config import TrainingConfig, load_config
from seq2seq.data.batches import Position, make_batch
from seq2seq.fast.cells import OneAtATime
from seq2seq.fast.precision import FP32
from seq2seq.model.recurrent import LAYERS
from seq2seq.profiling import bench as measuring
from seq2seq.profiling import operations as operations_of
from seq2seq.profiling.bench import bench
from seq2seq.profiling.operations import FORMULAS, square_rate
from seq2seq.profiling.parts import data_range, profile_updates
from seq2seq.profiling.profile import PARTS, Part, Profile, advice, parts_of, report
from seq2seq.text.tokenizer import EOS, PAD
from seq2seq.training.update import losses, make_optimizer, update

CPU = torch.device("cpu")
TRAINING = TrainingConfig(clip_norm=1.0)
TRANSFORMER = {"score": "multi_head", "embedding_size": 8, "decoder": {"type": "transformer"}}
SELF_ATTENTION = {"embedding_size": 8, "encoder": {"type": "self_attention"}}
KINDS = {
    "luong": {},
    "input feeding": {"decoder": {"input_feeding": True}},
    "bahdanau": {"score": "concat", "cell": "gru", "decoder": {"type": "bahdanau"}},
    "gnmt": {"decoder": {"type": "gnmt", "num_layers": 2}},
    "recomputed": {"score": "concat", "attention": {"chunk_size": 2}},
    "layers": {"cell": "rnn", "encoder_layers": 2, "decoder_layers": 2, "residual": True},
    "no attention": {"score": "none"},
    "self-attention on top": {"encoder": {"self_attention_layers": 1}},
    "transformers": {**TRANSFORMER, **SELF_ATTENTION},
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
PAIRS = [([5, 7, 6, 8, EOS], [4, 9, EOS]), ([9, 5, EOS], [8, 8, 6, 5, 10, EOS]), ([4, EOS], [EOS])]


def updates(model, count=1):
    """Do updates of two batches each, as `bench` does them."""
    torch.manual_seed(1)
    optimizer, batch = make_optimizer(TRAINING, model), make_batch(PAIRS)
    for _ in range(count):
        with data_range():
            micro_batches = [batch, batch]
        update(model, optimizer, micro_batches, TRAINING)
        yield


# --------------------------------------------------------------------------------------------------------- parts


@each_kind
def test_a_profile_has_all_parts_of_a_model_and_changes_nothing_of_what_it_learns(kind):
    alone = random_model(**kind)
    model = copy.deepcopy(alone)
    list(updates(alone, 2))
    seconds = profile_updates(model, updates(model, 2), CPU)
    recurrent = kind.get("decoder") != {"type": "transformer"}
    expected = {"encoder", "recurrence" if recurrent else "self_attention", "attention", "rest"}
    assert {part for part, _ in seconds} == expected | {"data", "vocabulary", "optimizer", "other"}
    for part in expected - ({"attention"} if kind.get("score") == "none" else set()):
        assert {way for name, way in seconds if name == part} == {"forward", "backward"}
    for a, b in zip(alone.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not any("forward" in vars(module) for module in model.modules())


class Marked(torch.autograd.Function):
    """The identity, with an event of the profiler in each direction."""

    @staticmethod
    def forward(ctx, x):
        with record_function("mark"):
            return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        with record_function("mark"):
            return gradient


def mark(module, method="forward"):
    """Mark a module's first result."""
    made = getattr(module, method)

    def marked(*args):
        out = made(*args)
        return (Marked.apply(out[0]), *out[1:]) if isinstance(out, tuple) else Marked.apply(out)

    setattr(module, method, marked)


@pytest.fixture
def marks(monkeypatch):
    """A function that counts the marks of an update by part: each takes a second, and all other events take none."""
    monkeypatch.setattr(FunctionEvent, "self_cpu_time_total", property(lambda event: 1e6 * (event.name == "mark")))

    def count(model, steps=None):
        seconds = profile_updates(model, steps or updates(model), CPU)
        return {key: number for key, number in seconds.items() if number and key[0] != "other"}

    return count


RECURRENT = [
    ("encoder", "encoder.embedding", "forward"),
    ("recurrence", "decoder.recurrent", "forward"),
    ("attention", "decoder.attention", "merge"),
    ("attention", "decoder.attention", "forward"),
    ("rest", "decoder.W_c", "forward"),
    ("rest", "decoder.bridge", "forward"),
    ("rest", "decoder", "forward"),
]
TRANSFORMERS = [
    ("self_attention", "decoder.layers.0.self_attention", "forward"),
    ("attention", "decoder.layers.0.attention", "forward"),
    ("attention", "decoder.layers.0.attention.W_k", "forward"),
    ("rest", "decoder.layers.0.feed_forward", "forward"),
    ("encoder", "encoder.layers.0.self_attention", "forward"),
]


@pytest.mark.parametrize(
    ("kind", "part", "module", "method"),
    [(kind, *place) for kind in ("luong", "input feeding", "bahdanau", "layers") for place in RECURRENT]
    + [("gnmt", "recurrence", "decoder.upper", "forward")]
    + [("transformers", *place) for place in TRANSFORMERS],
)
def test_time_belongs_to_the_part_that_spends_it_forward_and_backward(marks, monkeypatch, kind, part, module, method):
    model = random_model(**KINDS[kind])
    if module == "decoder.recurrent" and kind in ("input feeding", "bahdanau"):  # then its cells run
        monkeypatch.setattr(OneAtATime, "__call__", OneAtATime.__call__)  # put back afterwards
        mark(OneAtATime, "__call__")
    else:
        mark(model.get_submodule(module), method)
    in_loop = module.startswith(("decoder.recurrent", "decoder.attention", "decoder.W_c"))
    times = 2 * (6 if in_loop and kind in ("input feeding", "bahdanau") else 1)  # two batches, six positions
    assert marks(model) == {(part, "forward"): times, (part, "backward"): times}


def test_scores_that_are_computed_again_for_their_gradient_are_time_of_the_attention(marks):
    model = random_model(**KINDS["recomputed"])
    mark(model.decoder.attention, "_formula")
    times = 2 * 3  # two batches, three chunks of positions
    assert marks(model) == {("attention", "forward"): times, ("attention", "backward"): times}


def test_time_between_the_model_and_its_gradient_belongs_to_the_vocabulary(marks):
    model = random_model()

    def steps():
        model.register_forward_hook(lambda _, __, out: (Marked.apply(out[0]), *out[1:]))
        yield from updates(model)

    assert marks(model, steps()) == {("vocabulary", "both"): 4}


def test_time_of_batches_and_of_the_optimizer_is_theirs(marks):
    model = random_model()
    optimizer = make_optimizer(TRAINING, model)

    def note(*_):
        with record_function("mark"):
            pass

    def steps():
        optimizer.register_step_pre_hook(note)
        with data_range():
            note()
            note()
        update(model, optimizer, [make_batch(PAIRS)], TRAINING)
        yield

    assert marks(model, steps()) == {("data", "both"): 2, ("optimizer", "both"): 1}


def test_parts_add_up_to_the_whole():
    seconds = {("data", "both"): 1.0, ("encoder", "forward"): 2.0, ("encoder", "backward"): 3.0, ("other", "both"): 4.0}
    assert parts_of(seconds, updates=2) == {
        "data": Part(0.0, 0.0, 500.0, 0.1),
        "encoder": Part(1000.0, 1500.0, 2500.0, 0.5),
        "other": Part(0.0, 0.0, 2000.0, 0.4),
    }


# ---------------------------------------------------------------------------------------------------- operations


def operations(function):
    with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize(("cell", "gates", "parts"), [("rnn", 1, 1), ("gru", 3, 1), ("lstm", 4, 2)])
@pytest.mark.parametrize("feeding", [False, True])
def test_operations_of_a_recurrent_model_follow_their_formula(cell, gates, parts, feeding):
    model, hidden = random_model("general", cell, tie="none", decoder={"input_feeding": feeding}), 8
    batch, s, t = make_batch([([5, 7, 6, EOS], [4, 9, EOS]), ([9, 5, 6, EOS], [8, 8, EOS])]), 2 * 4, 2 * 3
    expected = 2 * s * 2 * gates * (hidden // 2) * (6 + hidden // 2)  # encoder: two directions of half the size
    expected += 2 * 2 * parts * hidden * parts * hidden  # bridge, once a sentence
    expected += 2 * s * hidden * hidden  # W_a, once a source token
    expected += 2 * t * gates * hidden * (6 + hidden * feeding + hidden)  # decoder
    expected += 2 * (2 * t * 4 * hidden)  # scores, and sums of values
    expected += 2 * t * (2 * hidden) * hidden  # W_c
    expected += 2 * t * hidden * 12  # W_y
    with torch.no_grad():
        assert operations(lambda: losses(model, batch).loss) == expected


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_backward_pass_of_a_recurrent_layer_has_twice_the_operations_of_the_forward_pass(cell):
    layer = LAYERS[cell](6, 8, batch_first=True)
    x, h = torch.randn(3, 5, 6, requires_grad=True), torch.randn(1, 3, 8, requires_grad=True)
    products = 2 * 3 * 5 * (layer.weight_ih_l0.numel() + layer.weight_hh_l0.numel())
    assert operations(lambda: layer(x, (h, h) if cell == "lstm" else h)[0].sum().backward()) == 3 * products


def test_a_layer_on_a_gpu_counts_as_one_on_a_cpu():
    x, weights = (5, 3, 6), [(32, 6), (32, 8), (32,), (32,)]
    for name, fused in (("_cudnn_rnn", "mkldnn_rnn_layer"), ("_cudnn_rnn_backward", "mkldnn_rnn_layer_backward")):
        formula, other = FORMULAS[getattr(torch.ops.aten, name)], FORMULAS[getattr(torch.ops.aten, fused)]
        assert formula(x, weights, out_shape=None) == other(x, *weights, out_shape=None) > 0


def test_the_rate_of_a_square_product_leaves_the_threads_as_they_are():
    threads = torch.get_num_threads()
    assert square_rate(FP32, CPU) > 0
    assert torch.get_num_threads() == threads


# ------------------------------------------------------------------------------------------------------ the advice


def profile(**changes):
    """A profile that deserves no advice, with changes; `shares` of parts are taken from the encoder's."""
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
        src_padding=0.01,
        tgt_padding=0.03,
        at_once=None,
        tokens_per_second=8000.0,
        update_ms=[95.0, 100.0, 105.0],
        single_ms=10.0,
        memory=2**28,
        parts={part: Part(0.0, 0.0, 100 * share, share) for part, share in shares.items()},
        operations=8e9,
        square_rate=160e9,
    )
    return replace(plain, **changes)


FEEDING = "model.decoder.input_feeding=false"


@pytest.mark.parametrize(
    ("deserved", "not_deserved", "said"),
    [
        ({"shares": {"vocabulary": 0.6}}, {"shares": {"vocabulary": 0.45}}, ["tokenizer.vocab_size", "60%", "1.4"]),
        ({"at_once": FEEDING, "shares": {"recurrence": 0.3}}, {"at_once": FEEDING}, [FEEDING, "40%"]),
        ({"at_once": FEEDING, "shares": {"recurrence": 0.3}}, {"shares": {"recurrence": 0.3}}, ["at a time"]),
        ({"threads": 1}, {"threads": 1, "device": "cuda"}, ["threads is 1, that of cores 2", "OMP_NUM_THREADS=2"]),
        ({"threads": 4}, {"threads": 4, "cores": 4}, ["threads is 4", "OMP_NUM_THREADS=2"]),
        ({"single_ms": 50.0}, {"single_ms": 30.0}, ["training.batch_tokens", "50%", "1.3 times"]),
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
    for words in ("8,000 target tokens/s", "10.00 MFLOP", "50% of the rate"):
        assert words in text
    assert all(PARTS[part] in text for part in profile().parts)
    poor = "\n".join(report(profile(shares={"vocabulary": 0.6}, threads=1)))
    assert "nothing stands out" not in poor
    assert poor.count("\n- ") == 2


def test_a_share_of_the_limit_is_a_rate_over_a_rate():
    # 8000 tokens/s at 10 MFLOP each are 80 GFLOP/s, of 160
    assert profile().of_square == pytest.approx(0.5)


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
    monkeypatch.setattr(operations_of, "SQUARE", 64)


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
    assert "\\n" not in out  # a line break is never spelled out
    for words in ("target tokens/s", "GFLOP", "MiB", "vocabulary and loss", "decoder: attention", "100.0%", "\n- "):
        assert words in out


def test_a_profile_describes_the_batches_that_were_trained_on(config):
    found = measured(config, "training.accumulate=2", updates=3)
    subject = measuring._read(config, [])
    batches = list(itertools.islice((batch for _, batch in subject.batches.stream(Position())), 16))[10:]
    assert found.tokens == sum(batch.tokens for batch in batches) / 3
    assert found.sentences == sum(len(batch.src) for batch in batches) / 3
    real = sum(int((batch.src != PAD).sum()) for batch in batches)
    assert found.src_padding == pytest.approx(1 - real / sum(batch.src.numel() for batch in batches))
    there = sum(batch.tgt_in.numel() for batch in batches)
    assert found.tgt_padding == pytest.approx(1 - found.tokens * 3 / there)
    assert found.batch_key == "training.batch_tokens"
    assert found.parameters == sum(weight.numel() for weight in subject.model.parameters())
    assert found.updates == 3
    assert sum(part.share for part in found.parts.values()) == pytest.approx(1)


def test_the_weights_stay_as_they_are(config):
    subject = measuring._read(config, [])
    before = copy.deepcopy(subject.model.state_dict())
    list(measuring._updates(subject, 2))
    for name, weight in subject.model.state_dict().items():
        assert torch.equal(weight, before[name])


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
        ways = part["forward"] + part["backward"]
        assert ways == 0 or ways == pytest.approx(part["whole"])
    assert isinstance(found["advice"], list)


def content(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("overrides", [None, ["tokenizer.type=bpe", "tokenizer.vocab_size=400"]])
def test_not_a_byte_of_a_run_or_beside_a_config_changes(run, config, monkeypatch, tmp_path, overrides):
    target = run if overrides is None else config
    before = content(config.parent)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert measured(target, *(overrides or [])).target == str(target)
    assert content(config.parent) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "arguments", "said"),
    [
        ("config", ["--updates", "0"], "--updates is 0; write 1 to 100000"),
        ("config", ["--updates", "1" + "0" * 20], "write 1 to 100000"),
        ("run", ["training.batch_tokens=64"], "training.batch_tokens=64"),
    ],
)
def test_a_mistake_is_one_line(request, target, arguments, said, capsys):
    assert main(["bench", str(request.getfixturevalue(target)), *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_single_sentences_are_measured_too(config):
    batches = list(itertools.islice(measuring._read(config, []).singles.iterate(0), 20))
    assert {len(batch.src) for batch in batches} == {1}
    assert measured(config).single_ms > 0
