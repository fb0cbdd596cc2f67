"""Every key of a config: its type, its default and, below it, its meaning; then the rules between keys.

`Config` is the whole file; the sections it is made of stand above it. docs/config.md is written from this page.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any, Literal, TypeAlias, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from seq2seq.config.dialect import Dumper
from seq2seq.errors import nearest
from seq2seq.model.attention import SCORES
from seq2seq.model.window import WINDOW_SIZE, WINDOWS

SCORE_ALIASES = {"luong": "general", "bilinear": "general", "additive": "concat", "mlp": "concat", "bahdanau": "concat"}


def _canonical_score(name: Any) -> Any:
    """Return the name in `SCORES` of a score: `Scaled-Dot` is `scaled_dot`, and the alias `luong` is `general`."""
    if not isinstance(name, str):
        return name
    name = name.lower().replace("-", "_")
    return SCORE_ALIASES.get(name, name)


# every number has a largest value, far above any use, so that no computation overflows
Positive = Annotated[int, Field(ge=1, le=10**9)]
Natural = Annotated[int, Field(ge=0, le=10**9)]
Size = Annotated[int, Field(ge=1, le=10**6)]  # of a vector
Layers = Annotated[int, Field(ge=1, le=1000)]

TYPOGRAPHIC = "“”„‟«»‘’‚‛"  # quotation marks that mean nothing in YAML


def _two_columns(columns: Any) -> Any:
    """Return two columns of a table; raise ValueError, with an example, for anything else."""
    chosen = columns if isinstance(columns, list) else []
    allowed = [(type(c) is int and c > 0) or (isinstance(c, str) and c.strip()) for c in chosen]
    if len(chosen) == 2 and all(allowed) and chosen[0] != chosen[1]:
        return columns
    twice = "the same column twice; " if len(chosen) == 2 and chosen[0] == chosen[1] else ""
    raise ValueError(f'data.columns is {columns!r:.80}; {twice}write two numbers, [2, 3], or two names, ["en", "no"]')


def _corpora(train: Any) -> Any:
    """Return a value of `data.train`; raise ValueError, with an example, for anything else."""
    if isinstance(train, str) and train:
        return train
    corpora = train if isinstance(train, list) and train else [train]
    corpora = [{"path": corpus} if isinstance(corpus, str) else corpus for corpus in corpora]
    for corpus in corpora:
        weight = corpus.get("weight", 1) if isinstance(corpus, dict) else None
        is_weight = isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight <= 1000
        if not is_weight or not corpus.get("path") or corpus.keys() - {"path", "weight"}:
            example = "write a path, or a list such as [{path: data/real, weight: 2}, data/more]"
            shown = "empty" if train is None else f"{train!r:.200}"
            raise ValueError(f"data.train is {shown}; {example}, with weights above 0 and at most 1000")
    return [corpus | {"weight": float(corpus.get("weight", 1))} for corpus in corpora]


def _yes_no_or_auto(header: Any) -> Any:
    """Return a value of `data.header`; raise ValueError for anything else."""
    if isinstance(header, bool) or header == "auto":
        return header
    raise ValueError(f"data.header is {header!r:.80}; it must be auto, true or false")


TokenType = Literal["unigram", "bpe", "char", "word"]


def _token_types(types: Any) -> Any:
    """Return a value of `tokenizer.type`; raise ValueError, with an example, for anything else."""
    allowed = get_args(TokenType)
    each = types if isinstance(types, list) and len(types) == 2 else [types]
    wrong = [type for type in each if not isinstance(type, str) or type not in allowed]
    if not wrong:
        return types
    shown = f"{wrong[0]!r:.80}" if wrong[0] is not None else "empty"
    guess = nearest(str(wrong[0]), allowed)
    two = "one of each side, such as [char, word]"
    raise ValueError(
        f"tokenizer.type is {shown}; it must be {', '.join(allowed[:-1])} or {allowed[-1]}, or {two}"
        + f"; did you mean {guess}?" * bool(guess)
    )


def _distinct_symbols(symbols: list[str]) -> list[str]:
    """Return the symbols of a vocabulary; raise ValueError, with the reason, for one that cannot be a symbol."""
    for symbol in symbols:
        reason = (
            "it has white space"
            if symbol.split() != [symbol]
            else "the name of a special token"
            if re.fullmatch("<pad>|<unk>|</?s>|<0x[0-9A-F]{2}>", symbol)
            else "sentencepiece needs that character itself"
            if {*symbol} & {"\u2581", "\u2585"}
            else "it is not in Unicode's form NFC"
            if unicodedata.normalize("NFC", symbol) != symbol
            else "it is there twice"
            if symbols.count(symbol) > 1
            else None
        )
        if reason:
            raise ValueError(f"tokenizer.symbols has {symbol!r:.40}: {reason}; write symbols such as <2ko>")
    return symbols


Text = Annotated[str, Field(min_length=1)]
Factor = Annotated[float, Field(ge=0, le=1e6)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Columns = Annotated[list[Positive | Text], Field(min_length=2, max_length=2), BeforeValidator(_two_columns)]
Header = Annotated[bool | Literal["auto"], BeforeValidator(_yes_no_or_auto)]
Symbols = Annotated[list[Text], Field(max_length=10_000), AfterValidator(_distinct_symbols)]
TokenTypes = Annotated[
    TokenType | Annotated[list[TokenType], Field(min_length=2, max_length=2)], BeforeValidator(_token_types)
]
Cell = Literal["rnn", "gru", "lstm"]
Score: TypeAlias = Annotated[Literal[tuple(SCORES)], BeforeValidator(_canonical_score)]  # type: ignore[valid-type]


class Section(BaseModel):
    """A section of the config. An unknown key is an error, a string is never read as a number, and nothing changes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Corpus(Section):
    """A corpus of `data.train`, and how often an epoch has each of its pairs."""

    path: Text
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0


class DataConfig(Section):
    """The parallel text. A path is a table (.tsv, .txt, .csv, .jsonl) or a prefix: `data/x` means `x.en` and `x.de`."""

    train: Annotated[Text | Annotated[list[Corpus], Field(min_length=1)], BeforeValidator(_corpora)]
    """sentence pairs to learn from; or a list of corpora, `[{path: data/real, weight: 2}, data/more]`: with weight 2 an
    epoch has each pair twice, with 0.5 every second pair, without a weight each once"""
    dev: Text
    """sentence pairs to validate on; they decide which checkpoint is the best"""
    test: Text | None = None
    """sentence pairs to measure the trained model on"""
    src: Text
    """source language: the file suffix, the first column of a table, the key in a JSONL"""
    tgt: Text
    """target language: the file suffix, the second column of a table, the key in a JSONL"""
    columns: Columns | None = None
    """the columns of a table that hold source and target, by number, `[2, 3]`, or by name in its header, `[english,
    french]`; `1+3` joins the cells of two, such as a lemma and its features; in a JSONL two keys; null: the table has
    only these two"""
    header: Header = "auto"
    """whether the first row of a table holds the names of its columns; `auto`: if columns are chosen by name, or if its
    two cells name languages (`en`, `English`) or sides (`source`, `target`)"""
    max_length: Positive = 100
    """largest number of tokens on either side, `</s>` not counted; longer training pairs are dropped"""

    @property
    def corpora(self) -> list[Corpus]:
        """The corpora of `train`."""
        return [Corpus(path=self.train)] if isinstance(self.train, str) else self.train


class TokenizerConfig(Section):
    """How a line becomes tokens. The tokenizer is learned from the training pairs and kept with the run."""

    type: TokenTypes = "unigram"
    """kind of token: a subword (`unigram`, `bpe`), a character or a word; or with `joint: false` two, `[source,
    target]`: `[char, word]` reads letters and writes signs with spaces between them, such as phones"""
    vocab_size: Annotated[int, Field(ge=5, le=10**7)] = 2000
    """largest number of tokens in the vocabulary, the 4 special ones included; if not `joint`, in each of the two"""
    joint: bool = True
    """use one vocabulary for both languages instead of one for each"""
    word_tokenizer: Literal["split", "basic_english", "moses", "toktok", "spacy", "revtok", "subword"] = "split"
    """only for `type: word`: torchtext's name of the tokenizer that finds the words; `split` cuts at white space; all
    but `split` and `basic_english` need a package of their own"""
    symbols: Symbols = []
    """texts that are one token each and are never cut or lowercased, such as `[<2de>, <2ko>]`; in a translation they
    stand as text. One that in the training text stands only at the beginning of source lines is a tag: where a line is
    split into sentences, each gets it"""
    model: Text | Annotated[list[Text], Field(min_length=2, max_length=2)] | None = None
    """file of one's own sentencepiece model for both sides, or with `joint: false` two, `[source, target]`; its special
    tokens get our names and ids. Then `type`, `vocab_size` and `word_tokenizer` do not count; null: learn one"""
    decompose: bool = False
    """cut letters and accents apart, and Hangul syllables into jamo (Unicode's NFD), before all else; translations are
    put together again (NFC)"""
    lowercase: bool = False
    """lowercase both sides; translations are then lowercase too"""
    sampling: Annotated[float, Field(ge=0, le=1)] = 0.0
    """only for subwords: cut training text into randomly chosen pieces, anew in each epoch. With `bpe`: the probability
    of leaving out a merge (0.1 is usual); with `unigram`: alpha, where smaller is more random (0.2 to 0.5); 0: off.
    Sentences get longer, so that batches may exceed `training.batch_tokens`"""

    @property
    def types(self) -> tuple[TokenType, TokenType]:
        """The type of the source and of the target."""
        return (self.type, self.type) if isinstance(self.type, str) else (self.type[0], self.type[1])

    @property
    def type_name(self) -> str:
        """The type as the YAML spells it: `char`, or `[char, word]`."""
        return self.type if isinstance(self.type, str) else f"[{', '.join(self.type)}]"

    @property
    def models(self) -> list[str]:
        """The files of one's own models: none, one or two."""
        return [] if self.model is None else [self.model] if isinstance(self.model, str) else self.model


class PretrainedConfig(Section):
    """Word vectors to start from, as published: text, or word2vec's binary. Only for `tokenizer.type: word`."""

    src: Text | None = None
    """vectors of source words; null: random"""
    tgt: Text | None = None
    """vectors of target words; null: random"""


class EncoderConfig(Section):
    """The network that reads the source. `cell`, `bidirectional` and `residual` are only for `type: rnn`."""

    type: Literal["rnn", "self_attention"] = "rnn"
    """a recurrent network, or self-attention over embeddings with positions"""
    cell: Cell = "lstm"
    """kind of recurrent cell; `rnn` is the plain tanh cell"""
    hidden_size: Size = 256
    """size of an encoder state; each of two directions has half"""
    num_layers: Layers = 1
    """number of layers"""
    bidirectional: bool = True
    """read the source in both directions"""
    residual: bool = False
    """add a layer's input to its output, from the second layer on"""
    self_attention_layers: Annotated[int, Field(ge=0, le=1000)] = 0
    """only for `type: rnn`: number of self-attention layers on top of the recurrent ones"""
    num_heads: Positive = 4
    """heads of self-attention; must divide `hidden_size`"""
    dropout: Probability = 0.0
    """probability of dropping a number of an encoder state in training, before the decoder looks at it"""


class AttentionConfig(Section):
    """How the decoder looks at the source. In a `transformer` decoder every layer does so."""

    score: Score = "general"
    """how to score the match of a decoder state and a source position; `dot`, `scaled_dot` and `cosine` need the same
    `hidden_size` in encoder and decoder"""
    num_heads: Positive = 4
    """only for `multi_head`: number of heads; must divide `model.decoder.hidden_size`; the self-attention of a
    `transformer` decoder has as many"""
    chunk_size: Natural = 0
    """only for `concat`: target positions scored at a time; fewer need less memory and more time; 0: all"""
    window: Literal[tuple(WINDOWS)] = "global"  # type: ignore[valid-type]
    """source positions looked at: all (`global`), those around the target position (`local_m`) or those around a
    predicted position (`local_p`) (Luong et al. 2015)"""
    window_size: Positive = WINDOW_SIZE
    """only for `local_m` and `local_p`: D, the number of positions on either side of the center"""
    coverage: bool = False
    """let the score see the sum of all earlier weights (Tu et al. 2016)"""
    convolution: bool = False
    """let the score see a convolution of the previous weights (Chorowski et al. 2015)"""
    temperature: Annotated[float, Field(ge=0.01, le=1000)] = 1.0
    """number that divides the scores before the softmax; below 1 it sharpens the weights"""

    @property
    def past(self) -> str:
        """The name in `PASTS` of the feature of earlier weights that enters the score."""
        return "coverage" if self.coverage else "convolution" if self.convolution else "none"


class DecoderConfig(Section):
    """The network that writes the target. `cell`, `residual` and `input_feeding` are not for `type: transformer`."""

    type: Literal["rnn", "bahdanau", "gnmt", "transformer"] = "rnn"
    """a recurrent network that looks at the source after its step (`rnn`, Luong et al. 2015), before it (`bahdanau`,
    Bahdanau et al. 2014) or after its lowest layer, so that the layers above read what it found (`gnmt`, Wu et al.
    2016); or layers of self-attention (`transformer`, Vaswani et al. 2017)"""
    cell: Cell = "lstm"
    """kind of recurrent cell; `rnn` is the plain tanh cell"""
    hidden_size: Size = 256
    """size of a decoder state"""
    num_layers: Layers = 1
    """number of layers"""
    residual: bool = False
    """add a layer's input to its output, from the second layer on"""
    input_feeding: bool = False
    """give the previous attentional state to the next step (Luong et al. 2015); training is slower"""


class ModelConfig(Section):
    """The network."""

    embedding_size: Size = 256
    """size of a token's embedding"""
    dropout: Probability = 0.2
    """probability of dropping a unit in training"""
    word_dropout: Probability = 0.0
    """probability of dropping a whole token in training: its embedding is zero, in the source and in what the decoder
    reads"""
    tie_embeddings: Literal["none", "decoder", "all"] = "decoder"
    """`decoder`: the target embeddings are also the output weights; `all`: so are the source embeddings, which needs
    `tokenizer.joint: true`"""
    pretrained_embeddings: PretrainedConfig | None = None
    """word vectors to start from"""
    encoder: EncoderConfig = EncoderConfig()
    attention: AttentionConfig = AttentionConfig()
    decoder: DecoderConfig = DecoderConfig()


class TrainingConfig(Section):
    """How the network learns. An update is one step of the optimizer; a validation measures the model on `data.dev`."""

    batch_type: Literal["tokens", "sentences"] = "tokens"
    """unit in which the size of a batch is limited"""
    batch_tokens: Positive = 2048
    """only for `batch_type: tokens`: largest number of tokens on either side of a batch, padding included"""
    batch_sentences: Positive = 64
    """only for `batch_type: sentences`: sentence pairs of a batch"""
    max_updates: Positive = 600
    """training ends after this many updates"""
    max_minutes: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """training ends after this many minutes if it has not ended before; validations and pauses of the process do not
    count, time before a resume does; null: no limit"""
    accumulate: Positive = 1
    """batches per update; their gradients are added up"""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """rule that turns gradients into an update"""
    learning_rate: Annotated[float, Field(gt=0, le=1000)] = 2.0e-3
    """highest learning rate of the schedule"""
    weight_decay: Factor = 0.0
    """as torch's optimizer defines it"""
    schedule: Literal["constant", "plateau", "inverse_sqrt", "one_cycle", "cosine"] = "constant"
    """the learning rate after the warmup; `cosine` and `one_cycle` end at 0 with `max_updates`"""
    warmup_updates: Natural = 0
    """updates in which the learning rate rises from 0 to its highest value"""
    decay_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """only for `plateau`: factor that reduces the learning rate"""
    decay_patience: Positive = 2
    """only for `plateau`: validations without improvement before the learning rate decays"""
    coverage_loss: Factor = 0.0
    """weight of the coverage loss, a penalty on looking at the same place again; with `model.attention.coverage`, See
    et al. (2017) used 1"""
    label_smoothing: Probability = 0.1
    """probability spread over the whole vocabulary"""
    ema: Probability = 0.0
    """decay of an exponential moving average of the weights, such as 0.999; validations and checkpoints have the
    averaged weights; 0: off"""
    clip_norm: Factor = 1.0
    """largest norm of the gradient; 0: no limit"""
    validate_every: Positive = 100
    """updates between validations; each saves a checkpoint"""
    early_stopping_metric: Literal["auto", "bleu", "chrf", "exact_match", "cer", "loss"] = "auto"
    """measure that decides which checkpoint is the best, on `data.dev` translated greedily; `auto`: `chrf` where most
    lines of `data.dev` are one word or have no spaces between words, about which BLEU says nothing, otherwise `bleu`.
    Exact match breaks ties of `chrf`, and the loss breaks ties at 0"""
    patience: Natural = 5
    """training ends after this many validations without improvement; 0: no such limit. Validations in which the measure
    has been 0 since the start do not count"""
    save_every: Positive | None = None
    """updates between additional checkpoints; null: only validations save one"""
    keep: Positive = 3
    """number of newest checkpoints kept, besides the best one"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """number format of products and recurrent layers; `auto`: fp32; `bf16` is faster where the machine has it, and less
    exact"""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:[0-9]+)?)$")] = "auto"
    """`auto`: a GPU if there is one; `cuda:1`: the second GPU"""


class SearchConfig(Section):
    """How to search for a translation."""

    beam: Annotated[int, Field(ge=1, le=1000)] = 5
    """hypotheses kept at each step; 1 is greedy search"""
    length_penalty: Annotated[float, Field(ge=0, le=10)] = 0.6
    """alpha of GNMT's length penalty (Wu et al. 2016); 0: none"""
    max_length: Annotated[int, Field(ge=1, le=10**4)] | None = None
    """largest number of tokens in a translation; null: 3 x source tokens + 20"""
    min_length: Annotated[int, Field(ge=0, le=10**4)] = 0
    """smallest number of tokens in a translation, not counting its end"""
    no_repeat_ngram: Annotated[int, Field(ge=0, le=100)] = 0
    """no sequence of so many tokens occurs twice in a translation; 0: any may"""
    replace_unknown: bool = False
    """with words as tokens: a translation may hold unknown words; each becomes the source word that it looks at most"""
    batch_size: Annotated[int, Field(ge=1, le=10**5)] = 64
    """sentences translated at a time"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """number format of the search, as in `training`"""
    shortlist: bool = False
    """search only among frequent target tokens and likely translations of the source tokens. With 6,000 words this
    takes half the time; many translations change, BLEU hardly does. Validations search among all"""


class EvaluationConfig(Section):
    """How translations are measured."""

    bleu_tokenize: Literal["13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none"] = "13a"
    """sacrebleu's tokenizer for BLEU, in validations and in `evaluate`: `13a` for languages with spaces between words,
    `zh` for Chinese, `ja-mecab` and `ko-mecab` for Japanese and Korean (they need sacrebleu's extras `ja` and `ko`),
    `char` for single characters"""


class Config(Section):
    """A whole experiment. Only `data` has keys that must be given."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 1
    """seed of all random numbers"""
    data: DataConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig = SearchConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def to_yaml(self) -> str:
        """Write all keys as YAML, in the order above; `load_config` reads it back to an equal config."""
        return yaml.dump(self.model_dump(), Dumper=Dumper, sort_keys=False, allow_unicode=True)

    @model_validator(mode="after")
    def _check(self) -> "Config":
        """Raise the first rule between keys that is broken."""
        for broken in chain(_text_rules(self), _encoder_rules(self.model), _decoder_rules(self)):
            raise ValueError(broken)
        return self


def sections(section: type[Section] = Config, path: str = "") -> dict[str, type[Section]]:
    """Return the class of each section by its path: `model.encoder` is `EncoderConfig`, the empty path `Config`."""
    found = {path: section}
    for key, field in section.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, Section):
                found |= sections(kind, f"{path}.{key}".lstrip("."))
    return found


# ---------------------------------------------------------------------------------------------- rules between keys
# Each function yields a message for every rule that is broken: the keys, their values, the fix.


def _text_rules(config: Config) -> Iterator[str]:
    data, tokenizer, model = config.data, config.tokenizer, config.model
    pretrained = model.pretrained_embeddings
    for key in ("src", "tgt", "train", "dev", "test"):
        text = getattr(data, key)
        if isinstance(text, str) and text[0] in TYPOGRAPHIC and text[-1] in TYPOGRAPHIC:
            yield f'data.{key} is {text}: YAML takes these marks for letters; leave them out, or write " instead'
    if data.src == data.tgt:
        yield f"data.src and data.tgt are both {data.src!r}; name two different languages"
    if tokenizer.joint and not isinstance(tokenizer.type, str):
        yield f"tokenizer.type is {tokenizer.type_name}; one for each side needs tokenizer.joint false"
    if tokenizer.sampling and not {*tokenizer.types} <= {"unigram", "bpe"}:
        yield f"tokenizer.sampling is {tokenizer.sampling}; it is only for unigram and bpe, so set it to 0"
    if tokenizer.model and (len(tokenizer.models) == 1) != tokenizer.joint:
        yield f"tokenizer.model has {len(tokenizer.models)} file(s): one is for tokenizer.joint true, two for false"
    if tokenizer.model and "word" in tokenizer.types:
        yield "tokenizer.model is a sentencepiece model, and tokenizer.type word needs none: leave one of them out"
    if model.tie_embeddings == "all" and not tokenizer.joint:
        yield "model.tie_embeddings all needs tokenizer.joint true; set it, or use model.tie_embeddings decoder"

    search = config.search
    if search.max_length is not None and search.min_length >= search.max_length:
        yield f"search.min_length is {search.min_length}; it must be below search.max_length ({search.max_length})"
    if search.replace_unknown and {*tokenizer.types} != {"word"}:
        kind = f"{tokenizer.type_name}, which has no unknown words"
        yield f"search.replace_unknown needs tokenizer.type word; it is {kind}"
    if search.replace_unknown and model.attention.score == "none":
        yield "search.replace_unknown needs attention; model.attention.score is none, so choose another"

    # pretrained word vectors
    vectors = (pretrained.src, pretrained.tgt) if pretrained else (None, None)
    if any(file and type != "word" for file, type in zip(vectors, tokenizer.types, strict=True)):
        yield f"model.pretrained_embeddings needs tokenizer.type word; it is {tokenizer.type_name}"
    if pretrained and pretrained.src != pretrained.tgt and model.tie_embeddings == "all":
        both = "model.pretrained_embeddings.src and model.pretrained_embeddings.tgt"
        yield f"model.tie_embeddings all has one table of embeddings; give {both} the same file"


def _encoder_rules(model: ModelConfig) -> Iterator[str]:
    encoder, size, layers = model.encoder, model.encoder.hidden_size, model.encoder.self_attention_layers
    is_rnn = encoder.type == "rnn"
    if is_rnn and encoder.bidirectional and size % 2:
        yield f"model.encoder.hidden_size is {size}; with model.encoder.bidirectional it must be even"
    if (not is_rnn or layers) and size % encoder.num_heads:
        yield f"model.encoder.num_heads is {encoder.num_heads}; it must divide model.encoder.hidden_size ({size})"
    if not is_rnn and (size != model.embedding_size or size % 2):
        sizes = f"model.encoder.hidden_size ({size}) equal to model.embedding_size ({model.embedding_size})"
        yield f"model.encoder.type self_attention needs an even {sizes}; change them"
    if not is_rnn and layers:
        fix = "set it to 0: with self_attention, model.encoder.num_layers counts the layers"
        yield f"model.encoder.self_attention_layers is {layers}; it is only for model.encoder.type rnn, so {fix}"


_NO_WINDOW = {  # scores that have none, and why
    "none": "it looks nowhere",
    "location": "its table of positions is finite, and a window beyond its end would be empty",
}
_NO_PAST = {  # scores that cannot see earlier weights, and why
    "none": "it looks nowhere",
    "cosine": "it compares keys of length 1, and an added feature would change the length",
    "location": "it does not see the keys, to which the feature is added",
}


def _decoder_rules(config: Config) -> Iterator[str]:
    model = config.model
    attention, decoder = model.attention, model.decoder
    score = f"model.attention.score {attention.score}"

    # sizes
    encoder_size, size = model.encoder.hidden_size, decoder.hidden_size
    if attention.score in ("dot", "scaled_dot", "cosine") and encoder_size != size:
        sizes = f"model.encoder.hidden_size ({encoder_size}) equal to model.decoder.hidden_size ({size})"
        yield f"{score} needs {sizes}; make them equal, or use the score general"
    if attention.score == "multi_head" and size % attention.num_heads:
        yield f"model.attention.num_heads is {attention.num_heads}; it must divide model.decoder.hidden_size ({size})"

    # what a score can be combined with
    if attention.coverage and attention.convolution:
        yield "model.attention.coverage and model.attention.convolution are both true; set one of them to false"
    if attention.window != "global" and (why := _NO_WINDOW.get(attention.score)):
        yield f"{score} has no window {attention.window}: {why}; use model.attention.window global"
    if attention.past != "none" and (why := _NO_PAST.get(attention.score)):
        yield f"{score} has no {attention.past}: {why}; set model.attention.{attention.past} false"
    if attention.score == "none" and config.training.coverage_loss:
        yield f"training.coverage_loss is {config.training.coverage_loss}; with {score} it must be 0"

    # the decoders
    if decoder.type == "gnmt" and decoder.num_layers < 2:
        yield "model.decoder.type gnmt has layers below and above its attention; set model.decoder.num_layers to 2"
    if decoder.type != "transformer":
        return
    if attention.score != "multi_head":
        yield f"model.decoder.type transformer needs model.attention.score multi_head; it is {attention.score}"
    if size != model.embedding_size or size % 2:
        sizes = f"model.decoder.hidden_size ({size}) equal to model.embedding_size ({model.embedding_size})"
        yield f"model.decoder.type transformer needs an even {sizes}; change them"
    at_once = "model.decoder.type transformer computes all positions at once"
    if attention.past != "none":
        yield f"{at_once} and has no {attention.past}; set model.attention.{attention.past} false"
    if decoder.input_feeding:
        yield f"{at_once} and has no input_feeding; set model.decoder.input_feeding false"
