"""Face recognisers: uint8 images in, l2-normalised float32 embeddings out."""
