"""The run folder: what a training leaves behind, and what every later command needs."""
