"""Image codecs that everybody has, on the same faces as ours: contract, choice of operating points, tables."""
