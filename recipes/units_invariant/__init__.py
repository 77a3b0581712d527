"""Units that stay when speed, pitch, room, noise, voice or line change, against k-means of the same K."""
