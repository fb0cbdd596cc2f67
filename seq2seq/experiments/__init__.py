"""Experiments: every combination of some values, trained with several seeds, in one table."""
