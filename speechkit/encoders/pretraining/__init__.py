"""Pre-training of speech encoders: one objective a module, all trained by `speechkit.training.train`."""
