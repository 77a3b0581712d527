"""File input and output: atomic writes, audio, arrays, digests and safe paths. Imports no heavy library."""
