"""The construction of a model: only this file turns a config into encoder, attention and decoder."""

from torch import nn

from seq2seq.config.keys import Config, DecoderConfig, EncoderConfig, ModelConfig
from seq2seq.model.attention import Attention, Sizes, build_attention
from seq2seq.model.decoder import BahdanauDecoder, Decoder, GnmtDecoder, LuongDecoder
from seq2seq.model.embedding import Embedding
from seq2seq.model.encoder import Encoder, SelfAttentionEncoder
from seq2seq.model.recurrent import Recurrent
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.model.transformer import DecoderLayer, EncoderLayer, TransformerDecoder
from seq2seq.text.tokenizer import PAD, Tokenizer, Tokenizers


def build_model(config: Config, tokenizers: Tokenizers) -> Seq2Seq:
    """Build the untrained model of a config; its random numbers come from torch's global generator."""
    model = assemble(config, tokenizers)
    _draw_weights(model)
    return model


def assemble(config: Config, tokenizers: Tokenizers) -> Seq2Seq:
    """Put the modules of a model together, with torch's own weights in most of them."""
    model = config.model

    # make embeddings and output weights, tied or not
    src = _embedding(tokenizers.src, model)
    tgt = src if model.tie_embeddings == "all" else _embedding(tokenizers.tgt, model)
    attentional_size = model.decoder.hidden_size if model.tie_embeddings == "none" else model.embedding_size
    W_y = nn.Linear(attentional_size, len(tokenizers.tgt))
    if model.tie_embeddings == "none":
        nn.init.normal_(W_y.weight, std=attentional_size**-0.5)  # as embeddings are drawn
    else:
        W_y.weight = tgt.weight

    # encoder and decoder
    encoder = _encoder(model, src)
    decoder = (
        _transformer_decoder(config, tgt, W_y)
        if model.decoder.type == "transformer"
        else _recurrent_decoder(config, tgt, W_y, encoder.summary_size)
    )
    return Seq2Seq(encoder, decoder, model.encoder.dropout)


def _encoder(model: ModelConfig, embedding: nn.Embedding) -> Encoder | SelfAttentionEncoder:
    """Build an encoder: recurrent layers, self-attention layers, or self-attention on top of recurrent layers."""
    encoder, below, count = model.encoder, None, model.encoder.num_layers
    if encoder.type == "rnn":
        recurrent = _recurrent(model, encoder, model.embedding_size, encoder.num_layers, encoder.bidirectional)
        below, count = Encoder(embedding, recurrent, model.dropout), encoder.self_attention_layers
    if below and not count:
        return below
    layers = [EncoderLayer(encoder.hidden_size, encoder.num_heads, model.dropout) for _ in range(count)]
    return SelfAttentionEncoder(embedding, layers, below, model.dropout)


def _recurrent_decoder(config: Config, embedding: nn.Embedding, W_y: nn.Linear, summary_size: int) -> Decoder:
    model, decoder = config.model, config.model.decoder
    kind = {"rnn": LuongDecoder, "bahdanau": BahdanauDecoder, "gnmt": GnmtDecoder}[decoder.type]
    attention = _attention(config)

    # the input of a step: y_{t-1}, with input feeding s_{t-1}, in Bahdanau's decoder c_t
    input_size = model.embedding_size
    if decoder.input_feeding:
        input_size += W_y.in_features
    if decoder.type == "bahdanau":
        input_size += attention.context_size

    # the layers, and the step around them; Google's decoder looks at the source between its lowest layer and the others
    lower, upper = decoder.num_layers, None
    if decoder.type == "gnmt":
        lower = 1
        upper = _recurrent(model, decoder, decoder.hidden_size + attention.context_size, decoder.num_layers - 1)
    recurrent = _recurrent(model, decoder, input_size, lower)
    return kind(embedding, recurrent, attention, W_y, summary_size, model.dropout, decoder.input_feeding, upper)


def _recurrent(
    model: ModelConfig, side: EncoderConfig | DecoderConfig, input_size: int, layers: int, bidirectional: bool = False
) -> Recurrent:
    sizes = (input_size, side.hidden_size, layers)
    return Recurrent(side.cell, *sizes, bidirectional=bidirectional, dropout=model.dropout, residual=side.residual)


def _transformer_decoder(config: Config, embedding: nn.Embedding, W_y: nn.Linear) -> TransformerDecoder:
    model, decoder = config.model, config.model.decoder
    layers = [DecoderLayer(decoder.hidden_size, _attention(config), model.dropout) for _ in range(decoder.num_layers)]
    return TransformerDecoder(embedding, layers, W_y, dropout=model.dropout)


def _attention(config: Config) -> Attention:
    model, attention = config.model, config.model.attention
    max_positions = config.data.max_length + 1  # and </s>
    states = model.decoder.hidden_size, model.encoder.hidden_size
    sizes = Sizes(*states, attention.num_heads, max_positions, attention.chunk_size)
    return build_attention(
        attention.score, sizes, attention.window, attention.window_size, attention.past, attention.temperature
    )


def _draw_weights(model: Seq2Seq) -> None:
    """Draw weights with which numbers keep their size from layer to layer (Glorot and Bengio 2010), matrix by matrix.

    torch's own weights are smaller. With them s_t = tanh(W_c [c_t; h_t]) starts near zero, the decoder learns to write
    before it learns to look, and looks at `</s>` alone (docs/performance.md). Layers that start at zero stay at zero,
    and W_y as it was drawn, like embeddings.
    """
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            for name, weight in module.named_parameters():
                if name.startswith("weight"):
                    for gate in weight.detach().split(module.hidden_size):  # a matrix for each gate
                        nn.init.xavier_uniform_(gate)
        elif isinstance(module, nn.Linear) and module is not model.decoder.W_y and module.weight.any():
            nn.init.xavier_uniform_(module.weight)


def _embedding(tokenizer: Tokenizer, model: ModelConfig) -> Embedding:
    """Make embeddings of norm about 1, zero for padding: tied to the output weights they start with small logits.

    (Under a Transformer decoder the logits are not small: its last state at first still holds the token it has read.)
    """
    embedding = Embedding(len(tokenizer), model.embedding_size, PAD, model.word_dropout)
    nn.init.normal_(embedding.weight, std=model.embedding_size**-0.5)
    nn.init.zeros_(embedding.weight.detach()[PAD])
    return embedding
