"""The run folder, which a training writes and every later command reads."""
