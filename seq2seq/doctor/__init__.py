"""Two diagnoses: of a config and its data (`check`), and of an installation (`selftest`)."""
