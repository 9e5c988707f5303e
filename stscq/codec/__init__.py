"""The codec, in three rooms; each uses what stands below it alone (pyproject.toml, [tool.importlinter]).

models.py       `stscq models list`, `push` and `pull`
commands.py     `stscq compress`, `decompress`, `inspect` and `verify`; export.py makes a bundle of a trained codec
files/          photos in, compressed files and archives, pictures out
api.py          Codec, the codec in Python; quantise.py, images to symbols
bundle/         the model bundle: its description, writing, reading, finding, and the Hugging Face hub
bitstream/      symbols to bytes and back
"""
