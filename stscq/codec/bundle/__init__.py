"""The model bundle: a folder with all that compressing and decompressing need, and no pickle. read.py lists its files."""
