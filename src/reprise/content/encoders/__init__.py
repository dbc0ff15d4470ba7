"""Ready encoders of texts, images and sounds, and the decoding of files."""
