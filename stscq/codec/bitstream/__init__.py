"""The symbols of an image to bytes and back; docs/bitstream.md has every byte.

Axes: M groups, T tokens, K entries. One image is a group g < M and T indices i_0 ... i_{T-1} < K.

    group g, index i_0 ... i_{T-1}                    an Assignment of stscq.codec.quantise, one image of it
        |
        |-- packing.pack -------->  fixed length      log2 M bits, then T times log2 K; zeros up to a whole byte
        |
        `-- entropy.encode ------>  range-coded       g   by SymbolTables.group[M]
                  ^                                   i_t by ImageTables.tables[t, K], a row for each token:
                  |
             context.ImageTables                      SymbolTables.tokens[g, t, K], tilted by what i_0 ... i_{t-1}
                  ^                                   say of i_t (Context.read, Context.write, features[t, K, f])
                  |
             symbol_tables.fit, fit_context.fit_context                 counted once, on training images, by an export
        |
    payload.write                                     the shorter of the two; its length alone tells which it is
        |
        |-- image_file.write ---->  one image
        |
        |     byte 0      1         3          5
        |         +------+---------+----------+---------------------------+
        |         | 0xA2 | model   | CRC-16   | payload                   |
        |         +------+---------+----------+---------------------------+
        |
        `-- stscq.codec.files.archive   many images
              byte 0                          16
                  +---------------------------+-----------------------+-----+-----------------+-----------+
                  | MAGIC, version, flags,    | payload 0, its CRC-16 | ... | index (zlib):   | footer,   |
                  | model (10 bytes)          |                       |     | lengths, names  | 28 bytes  |
                  +---------------------------+-----------------------+-----+-----------------+-----------+

`model` is the beginning of the fingerprint of the bundle that wrote the file; without that bundle nothing can be read.
The way back: image_file.read or archive.Archive.payload, then payload.read (packing.unpack or entropy.SymbolDecoder).
"""
