"""Numbered recipes, a folder each."""
