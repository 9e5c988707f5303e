"""Switchable token-specific codebook quantisation for face-image compression."""

__version__ = "0.1.0"
