"""One step of a translation, equation by equation, with the numbers that the model itself computed.

Nothing is computed twice: the methods of the model's modules are watched during one forward pass, and their arguments
and results are the numbers. The equations stand in the docstrings of the classes that compute them, so a new score
brings its own.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from seq2seq.data.batches import make_batch
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.model.attention import Attention, Dot, NoAttention, Sizes
from seq2seq.model.decoder import Decoder
from seq2seq.model.past import Past
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.model.window import Window
from seq2seq.text.tokenizer import EOS

LIKELIEST = 5  # next tokens that are shown
WATCHED = {Attention: ("forward", "score", "merge"), Window: ("forward", "center"), Past: ("feature",)}  # methods


class Line(NamedTuple):
    """An equation, and its numbers: one, a vector, or a number or a vector for each token."""

    name: str  # of what it computes
    equation: str
    place: str  # the file in the package, and the class and method in it
    values: Any  # lists of Python's floats
    tokens: list[str] | None = None  # None: the numbers belong to no tokens


class Section(NamedTuple):
    """The equations of a part of the model, in the order of the computation."""

    title: str
    lines: list[Line]


class Explanation(NamedTuple):
    """The equations of one step, and the sentence that the step belongs to."""

    text: str
    translation: str
    tokens: list[str]  # of the translation, or of the text where its self-attention is explained
    step: int  # counted from 1
    sections: list[Section]


class Call(NamedTuple):
    """A call of a method."""

    arguments: tuple[Any, ...]
    result: Any


Calls = dict[tuple[nn.Module, str], list[Call]]


@contextmanager
def watched(model: nn.Module) -> Iterator[Calls]:
    """Record the calls that compute the equations until the end of the block. No other thread may use the model."""
    # what is watched
    modules = [*model.modules()]
    methods = [(each, name) for each in modules for kind in WATCHED if isinstance(each, kind) for name in WATCHED[kind]]
    methods = [(each, name) for each, name in methods if hasattr(each, name)]  # the whole sentence has no center
    methods += [(each.W_c, "forward") for each in modules if isinstance(each, Decoder)]

    # watch
    calls: Calls = defaultdict(list)
    for module, name in methods:
        setattr(module, name, _recorded(getattr(module, name), calls[module, name]))
    try:
        yield calls
    finally:
        for module, name in methods:
            delattr(module, name)


def _recorded(method: Callable[..., Any], calls: list[Call]) -> Callable[..., Any]:
    def recorded(*arguments: Any) -> Any:
        calls.append(Call(arguments, method(*arguments)))
        return calls[-1].result

    return recorded


def explain(
    translator: Translator, text: str, ids: Sequence[int], *, step: int = 1, head: int = 1, encoder: bool = False
) -> Explanation:
    """Return the equations of one step of a translation with their numbers.

    Args:
        translator: the model; no other thread may use it meanwhile.
        text: one raw sentence.
        ids: the tokens of its translation, without `</s>`: `Look.ids`.
        step: the position whose token is written, from 1 to that of `</s>`.
        head: the head to follow, from 1 on, as `Translator.decoder_heads` counts them.
        encoder: explain the encoder's self-attention instead; `step` is then a position of the source, and `head` one
            of `Translator.encoder_heads`.

    Raises:
        UserError: the text is empty or has several sentences, there is no such step or head, or no self-attention.
    """
    # the tokens
    model, (source,) = translator.model, translator.engine.encode([text])
    assert isinstance(model, Seq2Seq)
    if not source:
        raise UserError("the text is empty: there is nothing to explain")
    if EOS in ids:
        raise UserError("the text has several sentences; explain them one by one")
    src, tgt = translator.tokenizers.src.pieces(source), translator.tokenizers.tgt.pieces([*ids, EOS])
    heads, length = (translator.encoder_heads, len(src)) if encoder else (translator.decoder_heads, len(tgt))
    if encoder and not heads:
        raise UserError("the encoder has no self-attention: there is nothing to explain; leave --encoder out")
    for name, value, most in (("step", step, length), ("head", head, max(len(heads), 1))):
        if not 1 <= value <= most:
            raise UserError(f"{name} is {value}; write 1 to {most}")

    # one forward pass, watched
    batch, t = make_batch([(source, [*ids, EOS])]).to(translator.device), step - 1
    exact = translator.engine.exact
    with torch.inference_mode(), exact.settings(), exact.forward(), watched(model) as calls:
        attentional = model(batch.src, batch.src_lengths, batch.tgt_in).attentional
        probabilities = model.logits(attentional[0, min(t, len(tgt) - 1)]).softmax(-1)

    # the encoder's self-attention
    layers = [layer.self_attention for layer in getattr(model.encoder, "layers", [])]
    if encoder:
        section = _explain_self_attention(calls, layers, head - 1, t, src, "the encoder")
        return Explanation(text, translator.tokenizers.tgt.decode(ids), src, step, [section])

    # the step, and before it the self-attention of the source token that it looks at most
    before = ["<s>", *tgt[:t]]
    sections, lines = _explain_step(calls, model.decoder, t, head - 1, src, before, attentional[0, t])
    if layers:
        weights = next((line.values for line in lines if line.name == "a_t"), [0.0])
        sections.insert(0, _explain_self_attention(calls, layers, 0, int(np.argmax(weights)), src, "the encoder"))

    # the next token
    best, chosen = probabilities.topk(min(LIKELIEST, len(probabilities)))
    likeliest, place = translator.tokenizers.tgt.pieces(chosen.tolist()), _place(type(model), "logits")
    lines.append(_line("p(y_t)", "p(y_t) = softmax(W_y s_t + b_y)", place, best, likeliest))
    sections.append(Section(f"step {step}: after {before[-1]}, write {tgt[t]}", lines))
    return Explanation(text, translator.tokenizers.tgt.decode(ids), tgt, step, sections)


def _explain_step(
    calls: Calls, decoder: Any, t: int, head: int, src: list[str], before: list[str], s: Tensor
) -> tuple[list[Section], list[Line]]:
    """Return the decoder's self-attention, where it has some, and the equations of a step up to s_t."""
    kind = type(decoder)
    if isinstance(decoder, Decoder):
        lines = _explain_recurrent_step(calls, decoder, t, head, src)
        return [], [*lines, _line("s_t", _written(kind, "s_t", "s_t"), _place(kind, "advance"), s)]
    inner = [layer.self_attention for layer in decoder.layers]
    section = _explain_self_attention(calls, inner, head, t, before, "the decoder")
    layer, index = divmod(head, inner[0].num_heads)
    lines = _explain_attention(calls, decoder.layers[layer].attention, t, index, src, "x_t")
    return [section], [*lines, _line("s_t", "s_t = norm(x_t), x_t of the top layer", _place(kind, "forward"), s)]


def _explain_recurrent_step(calls: Calls, decoder: Decoder, t: int, head: int, src: list[str]) -> list[Line]:
    """Return h_t and the attention, in the order in which this decoder computes them."""
    kind = type(decoder)

    def written(symbol: str, otherwise: str) -> str:
        equation = _written(kind, symbol, otherwise)
        fed = "y_{t-1}; s_{t-1}" if "[y" in equation else "[y_{t-1}; s_{t-1}]"
        return equation.replace("y_{t-1}", fed) if decoder.input_feeding else equation

    # h_t, which is an argument of W_c
    (call, i), where = _at(calls[decoder.W_c, "forward"], t), _place(kind, "advance")
    h = _line("h_t", written("h_t", "h_t"), where, call.arguments[0][0, i, decoder.attention.context_size :])

    # the attention; its query is h_t, or what the decoder has before it has h_t
    attention = _explain_attention(calls, decoder.attention, t, head, src, kind.query_name)
    if kind.query_name == "h_t":
        return [h, *attention]
    call, i = _at(calls[decoder.attention, "forward"], t)
    query = written(kind.query_name, f"{kind.query_name}, the query")
    return [_line(kind.query_name, query, where, call.arguments[0][0, i]), *attention, h]


def _explain_attention(calls: Calls, attention: Attention, t: int, head: int, src: list[str], query: str) -> list[Line]:
    """Return the scores, the weights and the context of one query."""
    # the call that computed position t
    kind, shared = type(attention), _place(Attention, "forward")
    call, i = _at(calls[attention, "forward"], t)
    context = call.result.context[0, i]
    if isinstance(attention, NoAttention):
        return [_line("c_t", "c_t = 0, without attention", _place(kind, "forward"), context)]
    scored, merged = (_at(calls[attention, name], t)[0] for name in ("score", "merge"))
    lines, has_heads = [], attention.num_heads > 1
    if has_heads:
        q = scored.arguments[0][0, head, i]
        lines.append(_line("q_t", f"q_t = W_q {query} + b_q, head {head + 1}", _place(kind, "query"), q))

    # what the past adds to the keys
    if attention.past is not None:
        past, feature = type(attention.past), _at(calls[attention.past, "feature"], t)[0].result[0]
        equation = _written(past, "f_ti", _written(past, "f_t", "f_t")) + "; W_f f_ti is added to the key"
        values = feature.squeeze(-1) if feature.size(-1) == 1 else feature
        lines.append(_line("f_t", equation, _place(past, "feature"), values, src))

    # the scores
    equation = _written(kind, "e_ti", _written(kind, "e_t", "e_ti = score(h_t, k_i)")).replace("h_t", query)
    lines.append(_line("e_t", equation, _place(kind, "score"), scored.result[0, head, i], src))

    # the window
    inside = ""
    if calls[attention.window, "center"]:
        window = type(attention.window)
        center, focus = (_at(calls[attention.window, name], t)[0].result for name in ("center", "forward"))
        equation = _written(window, "p_t", "p_t") + ", counted from 0"
        lines.append(_line("p_t", equation, _place(window, "center"), center[0, i]))
        inside = f" in [p_t - {attention.window.D}, p_t + {attention.window.D}]"
        if focus[1].dim():
            inside += ", times g_ti"
            equation = "g_ti = exp(-(i - p_t)^2 / (2 sigma^2)), sigma = D / 2"
            lines.append(_line("g_t", equation, _place(window, "forward"), focus[1][0, 0, i], src))

    # the weights and the sum
    scores = "e_t" if attention.temperature == 1 else f"e_t / {attention.temperature:g}"
    lines.append(_line("a_t", f"a_t = softmax({scores}){inside}", shared, call.result.weights[0, head, i], src))
    if has_heads:
        z = merged.arguments[0][0, head, i]
        lines.append(_line("z_t", "z_t = sum_i a_ti v_i, v_i = W_v k_i + b_v", shared, z))
    equation = "c_t = W_o [z_t of all heads] + b_o" if has_heads else "c_t = sum_i a_ti v_i"
    return [*lines, _line("c_t", equation, _place(Attention, "merge") if has_heads else shared, context)]


def _explain_self_attention(
    calls: Calls, layers: Sequence[Attention], head: int, row: int, tokens: list[str], where: str
) -> Section:
    """Return the equations of a head of self-attention, for the token of one row; heads count over all layers."""
    # the layer, and what it computed
    layer, head = divmod(head, layers[0].num_heads)
    attention, n = layers[layer], len(tokens)
    (call,), (scored,), (merged,) = (calls[attention, name] for name in ("forward", "score", "merge"))
    X, memory = call.arguments[:2]
    Q, K = (each[0, head, :n] for each in scored.arguments)
    weights, kind = call.result.weights[0, head, row, :n], type(attention)
    shared, projected = _place(Attention, "forward"), _place(Attention, "memorize")
    products = Dot(Sizes(Q.size(-1), K.size(-1))).score(Q[row], K)

    # the equations
    lines = [
        _line("X", "X, a row for each token", _place(kind, "forward"), X[0, :n], tokens),
        _line("Q", "Q = X W_Q + b_Q", _place(kind, "query"), Q, tokens),
        _line("K", "K = X W_K + b_K", projected, K, tokens),
        _line("V", "V = X W_V + b_V", projected, memory.values[0, head, :n], tokens),
        _line("Q K^T", f"Q K^T, the row of {tokens[row]}", _place(Dot, "score"), products, tokens),
        _line("e", "Q K^T / sqrt(d_k)", _place(kind, "score"), scored.result[0, head, row, :n], tokens),
        _line("a", "softmax(Q K^T / sqrt(d_k))", shared, weights, tokens),
        _line("z", "z = softmax(Q K^T / sqrt(d_k)) V", shared, merged.arguments[0][0, head, row]),
        _line("Z", "Z = [z of all heads] W_O + b_O", _place(Attention, "merge"), call.result.context[0, row]),
    ]
    title = f"self-attention of {where}, layer {layer + 1}, head {head + 1}: where {tokens[row]} looks"
    return Section(title, lines)


def _line(name: str, equation: str, place: str, values: Tensor, tokens: list[str] | None = None) -> Line:
    return Line(name, equation, place, values.double().tolist(), tokens)


def _at(calls: list[Call], t: int) -> tuple[Call, int]:
    """Return the call that computed position t, and the position within it: one call is a step, or all positions."""
    return (calls[t], 0) if len(calls) > 1 else (calls[0], t)


def _place(kind: type, method: str) -> str:
    """Return the file in the package and the method; of a class of one's own, its module."""
    module = kind.__module__
    file = f"{module.removeprefix('seq2seq.').replace('.', '/')}.py" if module.startswith("seq2seq.") else module
    return f"{file}: {kind.__name__}.{method}"


def _written(kind: type, symbol: str, otherwise: str) -> str:
    """Return the equation `symbol = ...` in the docstring of a class; `otherwise` if it has none."""
    pattern = rf"(?<![\w.]){re.escape(symbol)} = .+?(?= \(\w+ et al|: |, where|  |\.?$|\. [A-Z])"
    found = re.search(pattern, kind.__doc__ or "", re.MULTILINE)
    return found[0] if found else otherwise
