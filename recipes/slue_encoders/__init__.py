"""Speech encoders compared on understanding."""
