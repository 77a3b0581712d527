"""Large concept models: what is said next, as the vector of a stretch of speech rather than as units."""
