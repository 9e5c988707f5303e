"""The model bundle: a folder with all that compressing and decompressing need. read.py lists its files."""
