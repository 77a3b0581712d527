"""Probes of frozen encoders in the manner of SUPERB, and word discrimination."""
