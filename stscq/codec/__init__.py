"""The codec, in three rooms; each uses what stands below it alone (pyproject.toml, [tool.importlinter]).

commands.py     `stscq compress`, `decompress`, `inspect` and `verify`; export.py makes a bundle of a trained codec
files/          photos in, compressed files and archives, pictures out
api.py          Codec, the codec in Python; quantise.py, images to symbols
bundle/         the model bundle: its description, writing, reading, finding
bitstream/      symbols to bytes and back
"""
