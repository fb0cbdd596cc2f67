"""The interactive session with a trained model."""
