"""Measurements of training speed: time by part, matrix products, memory, and advice."""
