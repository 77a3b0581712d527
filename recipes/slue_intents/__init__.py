"""Spoken commands: intents and slots, end to end and by pipelines, with learning curves."""
