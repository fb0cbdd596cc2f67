"""Decoding with a trained model: search, translation, forced decoding."""
