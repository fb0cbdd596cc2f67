"""The model: encoder, attention, decoder. Torch only; plain numbers in every constructor."""
