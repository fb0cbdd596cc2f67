"""Corpora of any size: files of text, token ids on disk, batches."""
