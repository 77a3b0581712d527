"""Large concept models: predict the next stretch of speech as a vector rather than as units."""
