"""Train, or fine-tune, a CTC character recogniser on any manifest."""
