"""Changes of sound: noise, rooms, second speakers, speed, pitch, telephone; drawn for training or for measuring."""
