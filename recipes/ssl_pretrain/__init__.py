"""Pre-train a speech encoder on recordings alone: contrastive, predictive, generative, or distilled from another."""
