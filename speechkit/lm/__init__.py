"""Language models: n-grams over words, characters and units; scores of texts and unit sequences."""
