"""Language models: n-grams over words, characters and units, and what texts and sequences cost by them."""
