"""A tiny model with lively random weights, made from a config as a real one is."""

import torch

from seq2seq.build import build_model
from seq2seq.config import parse_config
from seq2seq.data.batches import make_batch
from seq2seq.text.tokenizer import EOS, Tokenizers, WordTokenizer

SENTENCES = [[5, 7, 6, 8, EOS], [9, 5, EOS], [EOS]]
SRC_VOCAB, TGT_VOCAB = 14, 12


def random_model(
    score="general",
    cell="lstm",
    *,
    seed=1,
    spread=3.0,
    embedding_size=6,
    tie="decoder",
    dropout=0.2,
    word_dropout=0.0,
    encoder_layers=1,
    decoder_layers=1,
    residual=False,
    encoder=None,
    attention=None,
    decoder=None,
):
    """In eval mode; `spread` multiplies the usual start, so that attention and outputs are far from uniform.

    `encoder`, `attention` and `decoder` are more keys of these sections. Raises UserError where the config does.
    """
    layers = {"cell": cell, "hidden_size": 8, "residual": residual}
    model = {
        "embedding_size": embedding_size,
        "dropout": dropout,
        "word_dropout": word_dropout,
        "tie_embeddings": tie,
        "encoder": {**layers, "num_layers": encoder_layers, "num_heads": 2, **(encoder or {})},
        "attention": {"score": score, "num_heads": 2, "window_size": 1, **(attention or {})},
        "decoder": {**layers, "num_layers": decoder_layers, **(decoder or {})},
    }
    data = {"train": "train", "dev": "dev", "src": "en", "tgt": "de", "max_length": 20}
    config = parse_config({"data": data, "model": model}, "test")
    torch.manual_seed(seed)
    built = build_model(config, tokenizers(joint=tie == "all")).eval()
    with torch.no_grad():
        for name, weight in built.named_parameters():
            if not weight.any() and ".norm" not in name:
                weight.normal_(std=0.3)  # layers that start at zero
            weight *= 1 if ".norm" in name else spread
    return built


def tokenizers(joint=False):
    tgt = _words(TGT_VOCAB)
    return Tokenizers(tgt if joint else _words(SRC_VOCAB), tgt, ("word", "word"), False, "split")


def _words(vocab):
    return WordTokenizer([f"w{i}" for i in range(4, vocab)], "split")


def batch_of(sentences):
    """The source side of a batch: tokens and lengths."""
    return make_batch([(sentence, [EOS]) for sentence in sentences])[:2]
