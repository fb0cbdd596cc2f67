"""The precision: which library and which format computes a product, and what stays in float32."""

from threading import Thread

import pytest
import torch
from random_model import random_model, tokenizers

from seq2seq import fast
from seq2seq.config import SearchConfig, TrainingConfig
from seq2seq.data.batches import make_batch
from seq2seq.decoding.forced import score
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.fast import precision
from seq2seq.fast.precision import FP32, Precision, choose_precision, product_error, recurrent_dtype
from seq2seq.text.tokenizer import EOS
from seq2seq.training.resume import describe_machines
from seq2seq.training.update import losses, make_optimizer, update

CPU, MKLDNN = torch.device("cpu"), torch.backends.mkldnn
PAIRS = [([5, 7, 6, EOS], [4, 9, 5, EOS]), ([9, EOS], [8, EOS]), ([6, 8, EOS], [10, 4, EOS])]
FORMS = [Precision("bf16", "bf16"), Precision("bf16", "bf16", "cpu")]  # float32 tensors, and autocast


def settings():
    return MKLDNN.matmul.fp32_precision, MKLDNN.rnn.fp32_precision


@pytest.fixture
def measured(monkeypatch):
    """A machine on which oneDNN has float32's error, where a test says how many times as fast it is."""

    def set_up(advantage=1.0, errors=(5e-7, 5e-7)):
        monkeypatch.setattr(precision, "product_error", dict(zip(("ieee", "bf16"), errors, strict=True)).get)
        clock, durations = [0.0], [advantage, 0.0, 1.0, 0.0] * precision.ROUNDS  # between two readings, in turn
        readings = iter([sum(durations[:i]) for i in range(len(durations) + 1)])
        monkeypatch.setattr(precision, "thread_time", lambda: clock.append(next(readings)) or clock[-1])

    precision.fastest_float32.cache_clear()
    yield set_up
    precision.fastest_float32.cache_clear()


@pytest.mark.parametrize("name", ["auto", "fp32"])
def test_auto_and_fp32_have_the_error_of_float32_on_this_machine(name):
    chosen = choose_precision(CPU, name)
    assert (chosen.name, chosen.autocast) == ("fp32", "")
    assert product_error(chosen.products) < 2e-6
    assert product_error("ieee") < 2e-6


@pytest.mark.parametrize(("advantage", "library"), [(2.0, "bf16"), (1.2, "bf16"), (1.1, "ieee"), (0.9, "ieee")])
def test_the_library_that_is_clearly_faster_computes_float32(measured, advantage, library):
    measured(advantage)
    assert choose_precision(CPU, "auto") == Precision("fp32", library)


def test_a_library_with_a_larger_error_is_not_chosen_however_fast(measured):
    measured(9.0, errors=(5e-7, 2e-3))
    assert choose_precision(CPU, "auto") == FP32


def test_with_the_fast_code_off_the_default_library_computes(measured, monkeypatch):
    measured(2.0)
    monkeypatch.setattr(fast, "ON", False)
    assert choose_precision(CPU, "auto") == FP32


def test_a_run_keeps_its_library_where_that_has_the_error_of_float32_here_too(measured):
    measured(2.0)
    assert choose_precision(CPU, "auto", products="ieee").products == "ieee"
    measured(0.5)
    assert choose_precision(CPU, "auto", products="bf16").products == "bf16"
    measured(0.5, errors=(5e-7, 2e-3))
    assert choose_precision(CPU, "auto", products="bf16").products == "ieee"


@pytest.mark.parametrize(("error", "form"), [(2e-3, FORMS[0]), (5e-7, FORMS[1])])
def test_bf16_keeps_tensors_in_float32_where_onednn_computes_in_bfloat16_and_else_takes_autocast(
    measured, monkeypatch, error, form
):
    measured(errors=(5e-7, error))
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: True)
    assert choose_precision(CPU, "bf16") == form


@pytest.mark.parametrize("device", [CPU, torch.device("mps")])
def test_bf16_on_a_device_that_does_not_compute_in_it_is_a_users_error(monkeypatch, device):
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: False)
    with pytest.raises(UserError, match=rf"search\.precision is bf16, which this {device.type} .* write auto or fp32"):
        choose_precision(device, "bf16", "search.precision")


def test_the_users_own_settings_are_put_back_also_after_an_error():
    MKLDNN.matmul.fp32_precision = "tf32"
    try:
        before = settings()
        with FORMS[0].settings():
            assert settings() == ("bf16", "bf16")
        with pytest.raises(UserError), FP32.settings():
            choose_precision(torch.device("mps"), "bf16")
        model = random_model()
        translator = Translator(model.eval(), tokenizers(), SearchConfig())
        translator.engine.in_batches(lambda batch: batch, [[5, EOS]], len, of_empty=[])
        update(model, make_optimizer(TrainingConfig(), model), [make_batch(PAIRS)], TrainingConfig())
        assert settings() == before
    finally:
        MKLDNN.matmul.fp32_precision = "none"


def test_a_thread_waits_while_another_computes_in_other_settings():
    order = []

    def other():
        with FP32.settings():
            order.append(settings())

    with FORMS[0].settings():
        thread = Thread(target=other)
        thread.start()
        with_same = Thread(target=lambda: order.append(_inside(FORMS[0])))
        with_same.start()
        with_same.join()  # the same settings need not wait
        order.append("end")
    thread.join()
    assert order == [("bf16", "bf16"), "end", ("ieee", "ieee")]


def _inside(chosen):
    with chosen.settings():
        return settings()


@pytest.mark.parametrize("form", FORMS, ids=["tensors in float32", "autocast"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(
    "decoder", [{}, {"input_feeding": True}, {"type": "bahdanau", "num_layers": 2}, {"type": "gnmt", "num_layers": 2}]
)
def test_in_bf16_loss_and_gradient_are_close_and_weights_and_gradients_stay_float32(form, cell, decoder):
    found = {}
    for chosen in (FP32, form):
        model = random_model("general", cell, spread=1, decoder=decoder).train()
        with chosen.settings():
            with chosen.forward():
                loss = losses(model, make_batch(PAIRS), 0.1).loss
            loss.backward()
        assert loss.dtype == torch.float32
        assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
        found[chosen] = loss.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    (loss, gradient), (loss_bf16, gradient_bf16) = found.values()
    assert loss_bf16 == pytest.approx(loss, rel=0.01)
    assert torch.cosine_similarity(gradient_bf16, gradient, dim=0) > 0.995


@pytest.mark.parametrize("form", FORMS, ids=["tensors in float32", "autocast"])
def test_recurrent_layers_compute_in_bfloat16_only_where_it_is_the_precision(form):
    weight = torch.zeros(1)
    with FP32.settings():
        assert recurrent_dtype(weight) == torch.float32
    with form.settings():
        assert recurrent_dtype(weight) == torch.bfloat16
        assert recurrent_dtype(weight.double()) == torch.float64


def test_a_machine_that_is_another_one_is_described():
    here = {"processor": "A", "torch": "2.13.0", "products": "ieee"}
    assert describe_machines(here, here) == []
    (line,) = describe_machines(here | {"processor": "B"}, here)
    assert line.startswith("processor: A, before: B; so the last digits")


@pytest.mark.parametrize("form", FORMS, ids=["tensors in float32", "autocast"])
@pytest.mark.parametrize("decoder", [{}, {"input_feeding": True}])
def test_a_search_in_bf16_finds_hypotheses_of_about_the_scores_that_float32_gives_them(form, decoder):
    texts = ["w5 w6 w7", "w9", "w12 w4 w5 w6"]
    translator = Translator(random_model(spread=1, decoder=decoder).eval(), tokenizers(), SearchConfig(max_length=6))
    translator.engine.precision = form
    found = translator.translate(texts, attention=False)
    exact = score(translator, texts, [translation.text for translation in found])
    assert [translation.score for translation in found] == pytest.approx(exact, rel=0.02)
