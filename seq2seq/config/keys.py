"""Every key of a config: its type, its default and its meaning, here and nowhere else.

`Config`, below the sections it is made of, is the whole file; a key is named by its path, `model.attention.score`.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from seq2seq.config.dialect import Dumper
from seq2seq.model.attention import SCORES
from seq2seq.model.window import WINDOW_SIZE, WINDOWS

SCORE_ALIASES = {
    "luong": "general",
    "bilinear": "general",
    "additive": "concat",
    "mlp": "concat",
    "bahdanau": "concat",
}


def canonical_score(name: Any) -> Any:
    """Return the name in `SCORES` of a score: `Scaled-Dot` is `scaled_dot`, and the alias `luong` is `general`."""
    if not isinstance(name, str):
        return name
    name = name.lower().replace("-", "_")
    return SCORE_ALIASES.get(name, name)


Positive = Annotated[int, Field(ge=1)]


Natural = Annotated[int, Field(ge=0)]


Text = Annotated[str, Field(min_length=1)]


Probability = Annotated[float, Field(ge=0, lt=1)]


Cell = Literal["rnn", "gru", "lstm"]


Score: TypeAlias = Annotated[Literal[tuple(SCORES)], BeforeValidator(canonical_score)]  # type: ignore[valid-type]


class Section(BaseModel):
    """What all sections share: an unknown key is an error, a string is never taken for a number, nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataConfig(Section):
    """The parallel text. A path is a prefix (`data/train`: `train.en` beside `train.de`), a .tsv or a .jsonl file."""

    train: Text = Field(description="sentence pairs to learn from")
    dev: Text = Field(description="sentence pairs to validate on: they choose the best checkpoint")
    test: Text | None = Field(default=None, description="sentence pairs to measure the finished model on")
    src: Text = Field(description="source language: the file suffix, the first column of a TSV, the key in a JSONL")
    tgt: Text = Field(description="target language: the file suffix, the second column of a TSV, the key in a JSONL")
    max_length: Positive = Field(
        default=100, description="tokens a side, without `</s>`; longer training pairs are dropped"
    )


class TokenizerConfig(Section):
    """How a line becomes tokens. The tokenizer is learned from the training pairs and kept with the run."""

    type: Literal["unigram", "bpe", "char", "word"] = Field(default="unigram", description="unit of text")
    vocab_size: int = Field(
        default=2000, ge=5, description="a ceiling, with the 4 special tokens; a side each if not `joint`"
    )
    joint: bool = Field(default=True, description="one vocabulary for both languages, not one each")
    word_tokenizer: Literal["split", "basic_english", "moses", "toktok", "spacy", "revtok", "subword"] = Field(
        default="split",
        description="`type: word` only: torchtext's name of what finds the words; `split` cuts at white space; "
        "all but `split` and `basic_english` need a package of their own",
    )
    lowercase: bool = Field(
        default=False, description="lowercase both sides, so that translations are lowercase as well"
    )
    sampling: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="subwords only: cut training text into pieces at random, anew each epoch. `bpe`: how often a merge "
        "is left out (0.1); `unigram`: alpha, where less is wilder (0.2 to 0.5); 0 is off. Sentences get longer, so "
        "that batches may go beyond `training.batch_tokens`",
    )


class PretrainedConfig(Section):
    """Word vectors to start from: text files, a word and its numbers a line. Only with `tokenizer.type: word`."""

    src: Text | None = Field(default=None, description="vectors of source words; null: they start random")
    tgt: Text | None = Field(default=None, description="vectors of target words; null: they start random")


class EncoderConfig(Section):
    """The network that reads the source. `cell`, `bidirectional` and `residual` are of `type: rnn` only."""

    type: Literal["rnn", "self_attention"] = Field(
        default="rnn",
        description="kind of encoder: a recurrent network, or self-attention over embeddings with positions",
    )
    cell: Cell = Field(default="lstm", description="kind of recurrent cell; `rnn` is the plain tanh one")
    hidden_size: Positive = Field(default=256, description="units of an encoder state; each of two directions has half")
    num_layers: Positive = Field(default=1, description="layers on top of each other")
    bidirectional: bool = Field(default=True, description="read the source in both directions")
    residual: bool = Field(default=False, description="add a layer's input to its output, from the second layer on")
    self_attention_layers: Natural = Field(
        default=0, description="`type: rnn` only: layers of self-attention on top of the recurrent ones"
    )
    num_heads: Positive = Field(default=4, description="self-attention only: heads; must divide `hidden_size`")


class AttentionConfig(Section):
    """How the decoder looks at the source; in a `transformer` decoder every layer does so."""

    score: Score = Field(
        default="general",
        description="how well a decoder state and a source position fit; `dot`, `scaled_dot` and "
        "`cosine` need the same `hidden_size` in encoder and decoder",
    )
    num_heads: Positive = Field(
        default=4,
        description="`multi_head` only: heads; must divide `model.decoder.hidden_size`; "
        "the self-attention of a `transformer` decoder has as many",
    )
    chunk_size: Natural = Field(
        default=0,
        description="`concat` only: target positions scored at a time, 0 for all; fewer take less memory, more time",
    )
    window: Literal[tuple(WINDOWS)] = Field(  # type: ignore[valid-type]
        default="global",
        description="source positions looked at: all, or those around the target position (`local_m`), or around a "
        "predicted one (`local_p`) (Luong et al. 2015)",
    )
    window_size: Positive = Field(
        default=WINDOW_SIZE, description="`local_m` and `local_p` only: D, the positions on either side of the center"
    )
    coverage: bool = Field(default=False, description="let the score see the sum of earlier weights (Tu et al. 2016)")
    convolution: bool = Field(
        default=False, description="let the score see a convolution of the last weights (Chorowski et al. 2015)"
    )
    temperature: float = Field(
        default=1.0, ge=0.01, description="what scores are divided by before the softmax; below 1 sharpens the weights"
    )

    @property
    def past(self) -> str:
        """Return the name in `PASTS` of the feature of earlier weights that enters the score."""
        return "coverage" if self.coverage else "convolution" if self.convolution else "none"


class DecoderConfig(Section):
    """The network that writes the target. `cell` and what is below `num_layers` are not of `type: transformer`."""

    type: Literal["rnn", "bahdanau", "transformer"] = Field(
        default="rnn",
        description="kind of decoder: recurrent, looking after its step (`rnn`, Luong et al. 2015) or before it "
        "(`bahdanau`, 2014), or layers of self-attention (`transformer`, Vaswani et al. 2017)",
    )
    cell: Cell = Field(default="lstm", description="kind of recurrent cell; `rnn` is the plain tanh one")
    hidden_size: Positive = Field(default=256, description="units of a decoder state")
    num_layers: Positive = Field(default=1, description="layers on top of each other")
    residual: bool = Field(default=False, description="add a layer's input to its output, from the second layer on")
    input_feeding: bool = Field(
        default=False,
        description="give the last attentional state to the next step (Luong et al. 2015): slower training",
    )


class ModelConfig(Section):
    """The network."""

    embedding_size: Positive = Field(default=256, description="units of a token's vector")
    dropout: Probability = Field(default=0.2, description="share of units silenced in training")
    tie_embeddings: Literal["none", "decoder", "all"] = Field(
        default="decoder",
        description="`decoder`: target embeddings are the output weights as well; `all`: and the source embeddings, "
        "which needs `tokenizer.joint: true`",
    )
    pretrained_embeddings: PretrainedConfig | None = Field(default=None, description="word vectors to start from")
    encoder: EncoderConfig = EncoderConfig()
    attention: AttentionConfig = AttentionConfig()
    decoder: DecoderConfig = DecoderConfig()


class TrainingConfig(Section):
    """How the network learns. An update is one step of the optimizer; a validation measures on `data.dev`."""

    batch_type: Literal["tokens", "sentences"] = Field(default="tokens", description="what the size of a batch counts")
    batch_tokens: Positive = Field(
        default=2048,
        description="with `batch_type: tokens`: ceiling on the tokens of either side of a batch, padding included",
    )
    batch_sentences: Positive = Field(default=64, description="with `batch_type: sentences`: pairs a batch")
    max_updates: Positive = Field(default=600, description="updates after which training ends")
    max_minutes: float | None = Field(
        default=None,
        gt=0,
        description="minutes of training, over all resumptions and without validations, after which it validates, "
        "saves and ends, unless it has ended before",
    )
    accumulate: Positive = Field(default=1, description="batches an update: their gradients are added up")
    optimizer: Literal["adam", "adamw", "sgd"] = Field(default="adam", description="rule of an update")
    learning_rate: float = Field(default=2.0e-3, gt=0, description="the peak of the schedule")
    weight_decay: float = Field(default=0.0, ge=0, description="as the optimizer of torch defines it")
    schedule: Literal["constant", "plateau", "inverse_sqrt", "one_cycle", "cosine"] = Field(
        default="constant",
        description="the learning rate after the warmup; `cosine` and `one_cycle` end at 0 with `max_updates`",
    )
    warmup_updates: Natural = Field(
        default=0, description="updates in which the learning rate climbs from 0 to its peak"
    )
    decay_factor: float = Field(
        default=0.5, gt=0, lt=1, description="`plateau` only: what multiplies the learning rate"
    )
    decay_patience: Positive = Field(
        default=2, description="`plateau` only: validations without improvement before a decay"
    )
    coverage_loss: float = Field(
        default=0.0,
        ge=0,
        description="weight of the coverage loss, which makes looking at the same place again cost; "
        "with `model.attention.coverage`, See et al. (2017) used 1",
    )
    label_smoothing: Probability = Field(default=0.1, description="probability spread over the whole vocabulary")
    clip_norm: float = Field(default=1.0, ge=0, description="largest norm of the gradient, 0 for no limit")
    validate_every: Positive = Field(default=100, description="updates between validations; each saves a checkpoint")
    early_stopping_metric: Literal["bleu", "chrf", "exact_match", "cer", "loss"] = Field(
        default="bleu", description="what the best checkpoint is best in, on `data.dev` translated greedily"
    )
    patience: Natural = Field(default=5, description="validations without improvement that end training, 0 for never")
    save_every: Positive | None = Field(
        default=None, description="updates between checkpoints beside those of validations; null: those alone"
    )
    keep: Positive = Field(default=3, description="newest checkpoints kept, beside the best")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="numbers computed with; `auto`: bf16 autocast on a GPU that supports it, else fp32"
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda(:[0-9]+)?)$",
        description="`auto` takes a GPU where there is one; `cuda:1` is the second",
    )


class SearchConfig(Section):
    """How a translation is searched for."""

    beam: Positive = Field(default=5, description="hypotheses kept at each step; 1 is greedy search")
    length_penalty: float = Field(default=0.6, ge=0, description="alpha of GNMT's penalty (Wu et al. 2016), 0 for none")
    max_length: Positive | None = Field(
        default=None, description="tokens of a translation, at most; null: 3 x source tokens + 20"
    )
    batch_size: Positive = Field(default=64, description="sentences translated at a time")
    shortlist: bool = Field(
        default=False,
        description="search among frequent target tokens and likely translations of the source's alone, which takes "
        "half the time with 6,000 words; many translations change, BLEU hardly does. Validations search among all",
    )


class Config(Section):
    """A whole experiment: `load_config` makes one, `to_yaml` writes it. Only `data` has keys that must be given."""

    seed: int = Field(default=1, ge=0, le=2**32 - 1, description="start of all random numbers")
    data: DataConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig = SearchConfig()

    def to_yaml(self) -> str:
        """All keys as YAML, in the order above; `load_config` reads it back to an equal config."""
        return yaml.dump(self.model_dump(), Dumper=Dumper, sort_keys=False, allow_unicode=True)

    @model_validator(mode="after")
    def _check(self) -> "Config":
        """What must hold between keys, each rule on its own; the first one broken is the error."""
        for broken in _broken_rules(self):
            raise ValueError(broken)
        return self


def sections(section: type[Section] = Config, path: str = "") -> dict[str, type[Section]]:
    """The class of each section by its path: `model.encoder` is `EncoderConfig`, the empty path is `Config`."""
    found = {path: section}
    for key, field in section.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, Section):
                found |= sections(kind, f"{path}.{key}".lstrip("."))
    return found


def _broken_rules(config: Config) -> Iterator[str]:
    data, tokenizer, model = config.data, config.tokenizer, config.model
    pretrained = model.pretrained_embeddings
    if tokenizer.sampling and tokenizer.type not in ("unigram", "bpe"):
        yield f"tokenizer.sampling is {tokenizer.sampling}: {tokenizer.type} has one way to cut a text; write 0"
    if data.src == data.tgt:
        yield f"data.src and data.tgt are both {data.src!r}; they name two different languages"
    yield from _broken_encoder_rules(model)
    yield from _broken_attention_rules(model)
    yield from _broken_transformer_rules(model)
    if config.training.coverage_loss and model.attention.score == "none":
        yield "training.coverage_loss has nothing to weigh with model.attention.score none; set it to 0"
    if model.tie_embeddings == "all" and not tokenizer.joint:
        yield "model.tie_embeddings all needs tokenizer.joint true; set it, or use model.tie_embeddings decoder"
    if pretrained and (pretrained.src or pretrained.tgt):
        if tokenizer.type != "word":
            yield f"model.pretrained_embeddings needs tokenizer.type word; it is {tokenizer.type}"
        if model.tie_embeddings == "all" and pretrained.src != pretrained.tgt:
            yield (
                "model.tie_embeddings all has one table of embeddings; give model.pretrained_embeddings.src and "
                "model.pretrained_embeddings.tgt the same file"
            )


def _broken_encoder_rules(model: ModelConfig) -> Iterator[str]:
    encoder = model.encoder
    alone = encoder.type == "self_attention"
    if not alone and encoder.bidirectional and encoder.hidden_size % 2:
        yield (
            f"model.encoder.hidden_size is {encoder.hidden_size}; with model.encoder.bidirectional it must be even, "
            "each direction has half"
        )
    if (alone or encoder.self_attention_layers) and encoder.hidden_size % encoder.num_heads:
        yield (
            f"model.encoder.num_heads is {encoder.num_heads}; it must divide model.encoder.hidden_size "
            f"({encoder.hidden_size})"
        )
    if alone and (encoder.hidden_size != model.embedding_size or encoder.hidden_size % 2):
        yield (
            f"model.encoder.type self_attention needs model.encoder.hidden_size ({encoder.hidden_size}) equal to "
            f"model.embedding_size ({model.embedding_size}), and even; make them so"
        )
    if alone and encoder.self_attention_layers:
        yield (
            f"model.encoder.self_attention_layers is {encoder.self_attention_layers}; it is for "
            "model.encoder.type rnn: with self_attention, model.encoder.num_layers counts the layers"
        )


def _broken_attention_rules(model: ModelConfig) -> Iterator[str]:
    encoder, attention, decoder = model.encoder, model.attention, model.decoder
    score = f"model.attention.score {attention.score}"
    if attention.score in ("dot", "scaled_dot", "cosine") and encoder.hidden_size != decoder.hidden_size:
        yield (
            f"{score} needs model.encoder.hidden_size ({encoder.hidden_size}) equal to "
            f"model.decoder.hidden_size ({decoder.hidden_size}); make them equal, or use the score general"
        )
    if attention.score == "multi_head" and decoder.hidden_size % attention.num_heads:
        yield (
            f"model.attention.num_heads is {attention.num_heads}; it must divide model.decoder.hidden_size "
            f"({decoder.hidden_size})"
        )
    if attention.coverage and attention.convolution:
        yield "model.attention.coverage and model.attention.convolution are both true; the score sees one of them"
    if attention.window != "global" and attention.score in _NO_WINDOW:
        why = _NO_WINDOW[attention.score]
        yield f"{score} has no window {attention.window}: {why}; use model.attention.window global"
    if attention.past != "none" and attention.score in _NO_PAST:
        why = _NO_PAST[attention.score]
        yield f"{score} has no {attention.past}: {why}; set model.attention.{attention.past} false"


_NO_WINDOW = {
    "none": "it looks nowhere",
    "location": "its table of positions ends, and a window beyond the end would be empty",
}


_NO_PAST = {
    "none": "it looks nowhere",
    "cosine": "it compares directions, and a feature added to a key of length 1 would change the length",
    "location": "its score does not see the keys, where the feature enters",
}


def _broken_transformer_rules(model: ModelConfig) -> Iterator[str]:
    attention, decoder = model.attention, model.decoder
    if decoder.type != "transformer":
        return
    if decoder.hidden_size != model.embedding_size or decoder.hidden_size % 2:
        yield (
            f"model.decoder.type transformer needs model.decoder.hidden_size ({decoder.hidden_size}) equal to "
            f"model.embedding_size ({model.embedding_size}), and even; make them so"
        )
    if attention.score != "multi_head":
        yield (
            f"model.decoder.type transformer looks with several heads, and model.attention.score is {attention.score}; "
            "set model.attention.score multi_head"
        )
    if attention.past != "none":
        yield (
            f"model.decoder.type transformer sees all positions at once and has no {attention.past}; "
            f"set model.attention.{attention.past} false"
        )
    if decoder.input_feeding:
        yield "model.decoder.type transformer has no step to feed; set model.decoder.input_feeding false"
