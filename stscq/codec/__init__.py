"""The codec, in four rooms; each uses what stands below it alone (pyproject.toml, [tool.importlinter]).

models.py       `stscq models list`, `push` and `pull`; marks.py, `stscq watermark detect`
commands.py     `stscq compress`, `decompress`, `inspect` and `verify`; export.py makes a bundle of a trained codec
files/          photos in, compressed files and archives, pictures out
api.py          Codec, the codec in Python; quantise.py, images to symbols
bundle/         the model bundle: its description, writing, reading, finding, and the Hugging Face hub
bitstream/      symbols to bytes and back
watermark/      the invisible mark of decompressed pictures
"""
