"""What synthetic speech is worth: words, speaker, noise, pitch, timbre and timing, with intervals and bounds."""
