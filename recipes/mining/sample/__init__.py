"""The sample that the demo mines, and the program that made it."""
