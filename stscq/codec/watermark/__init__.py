"""The invisible mark of decompressed pictures, and how it is found again. docs/watermark.md says why it is built so.

    version, model --golay.encode--> 48 code bits --embed--> 128 projections of the picture, each moved to the nearest
                                                             point of one of two interleaved lattices
    picture --tiles.projections--> phases --detect--> the most likely code word, and how likely that is by chance

golay.py        24 bits to 48 that can be wrong in places, and the most likely 24 bits of 48 soft ones
tiles.py        where the mark lies in a picture: patterns, lattices, which code bit is where
embed.py        a picture with the mark
detect.py       the mark of a picture, whole or cropped, and the bound on false detections
"""
