"""Other formats for manifests; each module says what its format cannot hold."""
