"""Pictures of what a model looks at, and of how it learned.

They are drawn from plain values: an `AttentionMap`, or the records of `metrics.jsonl`. Only pictures in files need
matplotlib, an optional package; the terminal and the page need nothing.
"""

from seq2seq.decoding.attention_map import AttentionMap, beside
from seq2seq.plots.curves import save_curves
from seq2seq.plots.page import make_views, save_page
from seq2seq.plots.pictures import save_attention, spread
from seq2seq.plots.terminal import Screen, terminal_attention

__all__ = ["AttentionMap", "Screen", "beside", "make_views"]
__all__ += ["save_attention", "save_curves", "save_page", "spread", "terminal_attention"]
