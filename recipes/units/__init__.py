"""Discrete units by k-means, and what they tell."""
