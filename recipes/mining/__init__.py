"""Mine aligned audio and text from recordings and documents."""
