"""Tasks whose right answers are known exactly: languages learnt from their own strings, and values recalled by keys."""
