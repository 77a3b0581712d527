"""Spoken language understanding: the tasks of SLUE and SLUE Phase-2, their data, systems and scores."""
