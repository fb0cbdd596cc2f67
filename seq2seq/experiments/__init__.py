"""Experiments, which train every combination of some values with several seeds into one table."""
