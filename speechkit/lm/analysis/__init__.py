"""What models of sequences do that speech does not."""
