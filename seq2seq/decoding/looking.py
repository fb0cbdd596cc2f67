"""The names of the heads of a model, and their attention weights for one sentence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from seq2seq.decoding.attention_map import AttentionMap
from seq2seq.decoding.ensemble import Ensemble
from seq2seq.decoding.translation import Translation, join_translations
from seq2seq.model.attention import Attention
from seq2seq.model.decoder import Decoder
from seq2seq.model.encoder import SelfAttentionEncoder
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.model.transformer import EncoderLayer
from seq2seq.shapes import Float
from seq2seq.text.tokenizer import EOS, Tokenizer

TokenizedLine = tuple[Tokenizer, list[int]]  # a tokenizer, and its token ids of a line


@dataclass(frozen=True)
class Look:
    """A translation, and where the model looked while it wrote it. An empty line has no maps."""

    translation: Translation
    ids: list[int]  # token ids of the translation, without `</s>`
    decoder: AttentionMap | None  # where each token of the translation looks in the source; None without attention
    encoder: AttentionMap | None  # where each source token looks in the source; None without self-attention there


def join_looks(looks: Sequence[Look], ends: Sequence[str], nbest: int = 1) -> Look:
    """Put the looks of the sentences of a text together; `ends` follow their translations."""
    translation = join_translations([look.translation for look in looks], ends, nbest)
    if len(looks) == 1:
        return replace(looks[0], translation=translation)
    decoder = [look.decoder for look in looks if look.decoder]
    encoder = [look.encoder for look in looks if look.encoder]
    return Look(
        translation,
        [i for look in looks for i in (*look.ids, EOS)][:-1],
        AttentionMap.join(decoder) if decoder else None,
        AttentionMap.join(encoder) if encoder else None,
    )


def name_decoder_heads(model: Seq2Seq | Ensemble) -> list[str]:
    """Return the names of the heads that look at the source, in the order of the model's weights."""
    if isinstance(model, Ensemble):
        return _number_models([name_decoder_heads(each) for each in model.models])
    if not isinstance(model.decoder, Decoder):
        return _name_heads([layer.attention for layer in model.decoder.layers])
    return _name_heads([model.decoder.attention]) if model.has_attention else []


def name_encoder_heads(model: Seq2Seq | Ensemble) -> list[str]:
    """Return the names of the encoder's heads of self-attention, in the order of the model's weights."""
    if isinstance(model, Ensemble):
        return _number_models([name_encoder_heads(each) for each in model.models])
    if not isinstance(model.encoder, SelfAttentionEncoder):
        return []
    return _name_heads([layer.self_attention for layer in model.encoder.layers if isinstance(layer, EncoderLayer)])


def _number_models(heads: Sequence[list[str]]) -> list[str]:
    return [f"model {number} {head}" for number, of_model in enumerate(heads, 1) for head in of_model]


def _name_heads(layers: Sequence[Attention]) -> list[str]:
    heads = [(i, head) for i, layer in enumerate(layers, 1) for head in range(1, layer.num_heads + 1)]
    if len(heads) == 1:
        return ["attention"]
    return [f"layer {layer} head {head}" if len(layers) > 1 else f"head {head}" for layer, head in heads]


def map_sentence(
    rows: TokenizedLine, columns: TokenizedLine, heads: list[str], weights: Float[Tensor, "head row column"]
) -> AttentionMap | None:
    """Return the weights of one sentence with its tokens; None if there are no heads."""
    if not heads:
        return None
    (row_tokenizer, row_ids), (column_tokenizer, column_ids) = rows, columns
    row_pieces, column_pieces = row_tokenizer.pieces(row_ids), column_tokenizer.pieces(column_ids)
    row_words, column_words = row_tokenizer.word_numbers(row_ids), column_tokenizer.word_numbers(column_ids)
    return AttentionMap(row_pieces, column_pieces, heads, weights.numpy(), row_words, column_words)
