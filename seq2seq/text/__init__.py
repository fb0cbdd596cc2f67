"""The steps from a line of text to token ids and back: normalization, tokenizers, pretrained word vectors."""
