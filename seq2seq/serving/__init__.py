"""A trained model at work for people and programs: the interactive session, the HTTP server."""
