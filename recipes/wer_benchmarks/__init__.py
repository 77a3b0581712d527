"""Word error rates of every recogniser at hand on a manifest, under two normalisers, by speaker and group."""
