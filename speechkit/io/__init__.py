"""Files in and out: atomic writes, audio, arrays, digests and safe paths. Loads no heavy library."""
