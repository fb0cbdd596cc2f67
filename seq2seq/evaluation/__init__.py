"""Measuring translations: scores, the significance of a difference, and the health of the attention."""
