"""Faces: readers, alignment, the image store, splits and verification pairs."""
