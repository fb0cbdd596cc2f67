"""Several models that translate together."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from seq2seq.errors import UserError
from seq2seq.model.seq2seq import Decoding, Output, Seq2Seq
from seq2seq.runs.run import Run
from seq2seq.shapes import Float, Int, Int64
from seq2seq.text.vocabularies import vocabulary_digests


class Decodings(tuple[Decoding, ...]):
    """The memory and the state of every model, which search passes from step to step."""

    def select(self, rows: Int[Tensor, " rows"], sentences: Int[Tensor, " sentences"] | None) -> "Decodings":
        """Return the given hypotheses, in that order; keep the memory of the given sentences (None: of all)."""
        return Decodings(part.select(rows, sentences) for part in self)


class Ensemble(nn.Module):
    """Models of the same vocabularies, whose prediction is the mean of theirs (Sutskever et al. 2014).

    p(y_t) = 1/n sum_j p_j(y_t)

    It has the methods of a `Seq2Seq` that a translator calls, and the heads of all its models.
    """

    def __init__(self, models: Sequence[Seq2Seq]):
        super().__init__()
        self.models: Sequence[Seq2Seq] = nn.ModuleList(models)  # type: ignore[assignment]

    def encode(self, src: Int[Tensor, "batch src"], lengths: Int[Tensor, " batch"]) -> Decodings:
        """Return what each model looks at, and its first state."""
        return Decodings(model.encode(src, lengths) for model in self.models)

    def step(
        self, tokens: Int[Tensor, " rows"], decoding: Decodings, running: Int[Tensor, " running"]
    ) -> tuple[Float[Tensor, "running vocab"], Decodings]:
        """Return log p of the next token for each running hypothesis, and the decoding after `tokens`."""
        return self._mean([model.step for model in self.models], tokens, decoding, running)

    def step_within(self, ids: Int64[Tensor, " listed"]) -> Callable[..., tuple[Tensor, Decodings]]:
        """Return a `step` over a restricted vocabulary; its tokens are indices into `ids`."""
        steps = [model.step_within(ids) for model in self.models]
        return lambda tokens, decoding, running: self._mean(steps, tokens, decoding, running)

    def _mean(
        self, steps: Sequence[Callable[..., tuple[Tensor, Decoding]]], tokens: Tensor, decoding: Decodings, rows: Tensor
    ) -> tuple[Tensor, Decodings]:
        log_probs, after = zip(
            *(step(tokens, part, rows) for step, part in zip(steps, decoding, strict=True)), strict=True
        )
        return log_mean(log_probs), Decodings(after)

    def forward(
        self, src: Int[Tensor, "batch src"], lengths: Int[Tensor, " batch"], tgt: Int[Tensor, "batch tgt"]
    ) -> Output:
        """Return log p at every position of a given target, in place of attentional states, and the weights."""
        outputs = [model(src, lengths, tgt) for model in self.models]
        log_probs = [
            model.logits(output.attentional).float().log_softmax(-1)
            for model, output in zip(self.models, outputs, strict=True)
        ]
        weights = [output.weights for model, output in zip(self.models, outputs, strict=True) if model.has_attention]
        encoder_weights = [output.encoder_weights for output in outputs]
        return Output(log_mean(log_probs), torch.cat(weights or [outputs[0].weights], 1), torch.cat(encoder_weights, 1))

    def logits(self, log_probs: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows vocab"]:
        """Return what `forward` returned: log-probabilities are logits, whose softmax is p(y_t)."""
        return log_probs


def load_ensemble(model: Seq2Seq, run: Run, others: Sequence[str | Path], device: torch.device) -> Ensemble:
    """Join a run's model with the best models of other runs.

    Raises:
        UserError: one has other vocabularies, or translates other languages.
    """
    models, vocabularies = [model], vocabulary_digests(run.folder / "tokenizer")
    languages = direction(run)
    for other in map(Run.open, others):
        if direction(other) != languages:
            raise UserError(f"{other.path} translates {direction(other)}, and {run.path} {languages}: no ensemble")
        if vocabulary_digests(other.folder / "tokenizer") != vocabularies:
            fix = "train them from one config with different seeds, or one from the other with --from"
            raise UserError(f"{other.path}: its vocabularies are not those of {run.path}, as in an ensemble; {fix}")
        models.append(other.load_model(device=device)[0])
    return Ensemble(models)


def direction(run: Run) -> str:
    """Return the languages of a run in words, such as "en to de"."""
    data = run.config().data
    return f"{data.src} to {data.tgt}"


def log_mean(log_probs: Sequence[Float[Tensor, "*rows vocab"]]) -> Float[Tensor, "*rows vocab"]:
    """Return the logarithm of the mean of some probabilities."""
    return torch.stack(list(log_probs)).logsumexp(0) - math.log(len(log_probs))
