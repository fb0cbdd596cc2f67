"""A trained model at work for people: the interactive session."""
