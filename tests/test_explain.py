"""The explanation of a step: its numbers are those of the model, and they obey the equations beside them."""

import json
from importlib import import_module

import numpy as np
import pytest
import torch
from random_model import random_model, tokenizers
from tiny import write_config

import seq2seq
from seq2seq.commands.main import main
from seq2seq.config import SearchConfig
from seq2seq.decoding.explaining import explain
from seq2seq.decoding.forced import look_at
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.model.attention import SCORES, ScaledDot
from seq2seq.plots.textbook import textbook_page

TEXT, IDS = "w5 w7 w6 w8", [5, 9, 4]
FEEDING = {"input_feeding": True}
MODELS = [
    *({"score": score} for score in SCORES),
    {"score": "general", "decoder": FEEDING},
    {"score": "concat", "cell": "gru", "decoder": {"type": "bahdanau"}},
    {"score": "multi_head", "decoder": {"type": "bahdanau", **FEEDING}},
    {"score": "general", "decoder": {"type": "gnmt", "num_layers": 3}},
    {"score": "multi_head", "decoder": {"type": "gnmt", "num_layers": 2, **FEEDING}},
    {"score": "concat", "attention": {"coverage": True}},
    {"score": "dot", "attention": {"convolution": True}, "decoder": FEEDING},
    {"score": "general", "attention": {"window": "local_m"}},
    {"score": "multi_head", "attention": {"window": "local_p", "temperature": 0.5}},
    {"score": "dot", "encoder": {"type": "self_attention", "num_layers": 2}},
    {"score": "multi_head", "decoder": {"type": "transformer", "num_layers": 2}},
]


def translator_of(**model):
    return Translator(random_model(**model, embedding_size=8), tokenizers(), SearchConfig(beam=1, max_length=6))


def explained(translator, step, **options):
    """The look at a translation, and the lines of one of its steps by name."""
    look = look_at(translator, TEXT, IDS)
    found = explain(translator, TEXT, IDS, step=step, **options)
    return look, found, {line.name: np.array(line.values) for line in found.sections[-1].lines}


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_the_numbers_obey_the_equations_and_are_those_of_the_model(model):
    translator = translator_of(**model)
    attention, decoder = model.get("attention", {}), translator.model.decoder
    look = look_at(translator, TEXT, IDS)
    for step in range(1, len(IDS) + 2):
        for head in range(1, max(len(translator.decoder_heads), 1) + 1):
            _, found, line = explained(translator, step, head=head)
            assert found.tokens == look.translation.tokens

            # a_t = softmax(e_t), in the window, times the factor; c_t is the sum of the values
            if translator.decoder_heads:
                scores = line["e_t"] / attention.get("temperature", 1)
                if "p_t" in line:
                    scores = np.where(np.abs(np.arange(len(scores)) - line["p_t"]) <= 1, scores, -np.inf)
                weights = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
                assert line["a_t"] == pytest.approx(weights * line.get("g_t", 1), abs=1e-5)
                assert line["a_t"] == pytest.approx(look.decoder.weights[head - 1, step - 1], abs=1e-5)
                (source,) = translator.engine.encode([TEXT])
                with torch.inference_mode():
                    memory = translator.model.encode(torch.tensor([source]), torch.tensor([len(source)])).memory
                values = memory.values.flatten(1, -3)[0, head - 1].numpy()
                assert line.get("z_t", line["c_t"]) == pytest.approx(line["a_t"] @ values, abs=1e-4)

            # s_t = tanh(W_c [c_t; h_t] + b_c), and p(y_t) = softmax(W_y s_t + b_y) is what the search sees
            if "h_t" in line:
                weight, bias = (each.detach().numpy() for each in (decoder.W_c.weight, decoder.W_c.bias))
                expected = np.tanh(weight @ np.concatenate([line["c_t"], line["h_t"]]) + bias)
                assert line["s_t"] == pytest.approx(expected, abs=1e-5)
            with torch.inference_mode():
                p = translator.model.logits(torch.tensor(line["s_t"], dtype=torch.float32)).softmax(-1)
            assert line["p(y_t)"] == pytest.approx(p.sort(descending=True).values[:5].numpy(), abs=1e-5)
            written = dict(zip(found.sections[-1].lines[-1].tokens, line["p(y_t)"], strict=True))
            if found.tokens[step - 1] in written:
                score = np.log(written[found.tokens[step - 1]])
                assert score == pytest.approx(look.translation.token_scores[step - 1], abs=1e-4)

            # every equation stands where the line says
            for section in found.sections:
                for each in section.lines:
                    file, _, name = each.place.partition(": ")
                    kind, method = name.split(".")
                    module = import_module(f"seq2seq.{file.removesuffix('.py').replace('/', '.')}")
                    assert callable(getattr(getattr(module, kind), method))

    # nothing of the watching is left
    assert not any({"forward", "score", "merge", "center", "feature"} & {*vars(m)} for m in translator.model.modules())


@pytest.mark.parametrize("of", ["encoder", "decoder"])
def test_self_attention_is_explained_from_x_to_z(of):
    if of == "encoder":
        translator = translator_of(score="dot", encoder={"type": "self_attention", "num_layers": 2})
        heads, options = translator.encoder_heads, {"encoder": True}
        layers = [layer.self_attention for layer in translator.model.encoder.layers]
    else:
        translator = translator_of(score="multi_head", decoder={"type": "transformer", "num_layers": 2})
        heads, options = translator.decoder_heads, {}
        layers = [layer.self_attention for layer in translator.model.decoder.layers]
    assert len(heads) == 4
    for head in range(1, 5):
        look, found, _ = explained(translator, 2, head=head, **options)
        line = {line.name: np.array(line.values) for line in found.sections[0].lines}
        attention, part = layers[(head - 1) // 2], slice(4 * ((head - 1) % 2), 4 * ((head - 1) % 2) + 4)
        for name, W in (("Q", attention.W_q), ("K", attention.W_k), ("V", attention.W_v)):
            expected = line["X"] @ W.weight.detach().numpy().T[:, part] + W.bias.detach().numpy()[part]
            assert line[name] == pytest.approx(expected, abs=1e-4)
        assert line["Q K^T"] == pytest.approx(line["K"] @ line["Q"][1], abs=1e-3)
        assert line["e"] == pytest.approx(line["Q K^T"] / 2, abs=1e-4)
        weights = np.exp(line["e"] - line["e"].max())
        assert line["a"] == pytest.approx(weights / weights.sum(), abs=1e-5)
        assert line["z"] == pytest.approx(line["a"] @ line["V"], abs=1e-4)
        assert found.sections[0].lines[0].tokens == (found.tokens if of == "encoder" else ["<s>", found.tokens[0]])
        if of == "encoder":
            assert line["a"] == pytest.approx(look.encoder.weights[head - 1, 1], abs=1e-5)


GNMT = {"type": "gnmt", "num_layers": 2}
FORMULAS = [
    ("dot", {}, "e_t", "e_ti = h_t . k_i"),
    ("scaled_dot", {}, "e_t", "e_ti = h_t . k_i / sqrt(d_k)"),
    ("cosine", {}, "e_t", "e_ti = beta cos(h_t, k_i)"),
    ("general", {}, "e_t", "e_ti = h_t^T W_a k_i"),
    ("concat", {}, "e_t", "e_ti = v_a^T tanh(W_a [h_t; k_i]) = v_a^T tanh(W_q h_t + W_k k_i)"),
    ("location", {}, "e_t", "e_t = W_a h_t"),
    ("multi_head", {}, "e_t", "e_ti = q_t . k_i / sqrt(d_k)"),
    ("none", {}, "c_t", "c_t = 0, without attention"),
    ("general", {"decoder": {"type": "bahdanau"}}, "e_t", "e_ti = h_{t-1}^T W_a k_i"),
    ("dot", {"decoder": {"type": "bahdanau"}}, "h_t", "h_t = RNN([y_{t-1}; c_t], h_{t-1})"),
    ("dot", {"decoder": {"type": "bahdanau", **FEEDING}}, "h_t", "h_t = RNN([y_{t-1}; s_{t-1}; c_t], h_{t-1})"),
    ("general", {"decoder": GNMT}, "e_t", "e_ti = h'_t^T W_a k_i"),
    ("dot", {"decoder": GNMT}, "h_t", "h_t = RNN_2([h'_t; c_t], h_{t-1})"),
    ("dot", {"decoder": GNMT}, "h'_t", "h'_t = RNN_1(y_{t-1}, h'_{t-1})"),
    ("dot", {"decoder": {**GNMT, **FEEDING}}, "h'_t", "h'_t = RNN_1([y_{t-1}; s_{t-1}], h'_{t-1})"),
    ("dot", {"decoder": FEEDING}, "h_t", "h_t = RNN([y_{t-1}; s_{t-1}], h_{t-1})"),
    ("dot", {}, "h_t", "h_t = RNN(y_{t-1}, h_{t-1})"),
    ("dot", {}, "s_t", "s_t = tanh(W_c [c_t; h_t] + b_c)"),
    ("dot", {}, "c_t", "c_t = sum_i a_ti v_i"),
    ("dot", {"attention": {"temperature": 0.5}}, "a_t", "a_t = softmax(e_t / 0.5)"),
    ("dot", {"attention": {"window": "local_m"}}, "p_t", "p_t = min(t, S - 1), counted from 0"),
    ("dot", {"attention": {"window": "local_m"}}, "a_t", "a_t = softmax(e_t) in [p_t - 1, p_t + 1]"),
    ("dot", {"attention": {"window": "local_p"}}, "p_t", "p_t = S sigmoid(v_p^T tanh(W_p h_t)), counted from 0"),
    ("dot", {"attention": {"coverage": True}}, "f_t", "f_ti = sum of a_t'i over t' < t; W_f f_ti is added to the key"),
    ("dot", {"attention": {"convolution": True}}, "f_t", "f_t = F * a_{t-1}; W_f f_ti is added to the key"),
]


@pytest.mark.parametrize(("score", "model", "name", "equation"), FORMULAS)
def test_the_equation_is_that_of_the_model(score, model, name, equation):
    _, found, _ = explained(translator_of(score=score, **model), 1)
    line = {line.name: line for line in found.sections[-1].lines}[name]
    assert line.equation == equation
    assert " ".join(textbook_page(found).split()).find(" ".join(equation.split()[:2])) > 0


def test_a_score_of_ones_own_brings_its_equation(monkeypatch):
    class Half(ScaledDot):
        """e_ti = h_t . k_i / 2: half of the dot product."""

        def score(self, q, k):
            return q @ k.mT / 2

    monkeypatch.setitem(SCORES, "dot", Half)
    line = {line.name: line for line in explained(translator_of(score="dot"), 1)[1].sections[-1].lines}["e_t"]
    assert (line.equation, line.place) == ("e_ti = h_t . k_i / 2", "test_explain: Half.score")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 0}, "step is 0; write 1 to "),
        ({"step": 99}, "step is 99; write 1 to "),
        ({"head": 3}, "head is 3; write 1 to 2"),
        ({"encoder": True}, "the encoder has no self-attention"),
    ],
)
def test_what_cannot_be_explained_is_an_error(options, message):
    with pytest.raises(UserError, match=message):
        explained(translator_of(score="multi_head"), **{"step": 1} | options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    seq2seq.train(write_config(folder, training={"max_updates": 20, "validate_every": 10}), run=folder / "run")
    return str(folder / "run")


def test_the_command_prints_the_page_or_json(run, capsys):
    assert main(["explain", run, "the old cat", "--step", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    equations = {each["name"]: each for each in told["sections"][-1]["equations"]}
    assert [*equations] == ["h_t", "e_t", "a_t", "c_t", "s_t", "p(y_t)"]
    assert equations["a_t"]["tokens"] == ["the", "old", "cat", "</s>"]
    (translation,) = seq2seq.load(run).translate(["the old cat"])
    assert (told["translation"], told["tokens"], told["step"]) == (translation.text, translation.tokens, 2)

    assert main(["explain", run, "the old cat", "--step", "2"]) == 0
    page = capsys.readouterr().out
    for each in equations.values():
        assert each["equation"] in page
        assert each["place"] in page
    assert f"norm {np.linalg.norm(equations['h_t']['values']):.4g}" in page
    assert f"{equations['e_t']['values'][0]:.4f}" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["the cat", "--step", "99"], "--step is 99; write 1 to "),
        (["the cat", "--head", "2"], "--head is 2; write 1 to 1"),
        ([" "], "the text is empty"),
        (["the cat", "--encoder"], "the encoder has no self-attention"),
    ],
)
def test_a_mistake_is_one_line(run, capsys, arguments, message):
    assert main(["explain", run, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
