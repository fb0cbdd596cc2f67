"""Text and token ids: reading parallel corpora, tokenizers, batches, pretrained word vectors."""
