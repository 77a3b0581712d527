"""Probe a frozen encoder: characters, phones, speakers, commands and words, each with an interval."""
