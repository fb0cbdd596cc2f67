"""What is right and what is wrong: with a config and its data (`check`), with an installation (`selftest`)."""
