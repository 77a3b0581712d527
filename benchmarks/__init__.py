"""Side-by-side measurements; `python -m benchmarks.run` writes RESULTS.md."""
