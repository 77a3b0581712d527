"""Text to speech: acoustic models, vocoders, and the voices that they make together."""
