"""The symbols of an image to bytes and back. docs/bitstream.md has every byte.

Axes: M groups, T tokens, K entries, f features of an entry. The symbols of one image are its group g < M and its T
indices i_0 ... i_{T-1} < K: one row of the Assignment that stscq.codec.quantise makes.

                       group g, indices i_0 ... i_{T-1}
                                      |
                 +--------------------+--------------------+
                 |                                         |
            packing.pack                            entropy.encode  <---- how likely each symbol is, as integers:
        log2 M bits for g,                          range coding          g:   SymbolTables.group, M
        log2 K bits for each i_t,                          |              i_t: ImageTables.tables, row t of T x K:
        zeros up to a whole byte                           |                   SymbolTables.tokens[g, t], tilted by
                 |                                         |                   i_0 ... i_{t-1} (Context, features)
                 +--------------------+--------------------+
                                      |                               fitted by each export on training images:
                                payload.write                         symbol_tables.fit, fit_context.fit_context
                 the shorter of the two; its length tells which
                                      |
                 +--------------------+--------------------+
                 |                                         |
         image_file.write                      stscq.codec.files.archive
         one image                             many images

    byte 0      1         3          5
         +------+---------+----------+---------+
         | 0xA2 | model   | CRC-16   | payload |
         +------+---------+----------+---------+

    byte 0       4         5       6         16
         +-------+---------+-------+---------+-----------+--------+-----------+--------+-----+--------------+--------+
         | MAGIC | version | flags | model   | payload 0 | CRC-16 | payload 1 | CRC-16 | ... | index (zlib) | footer |
         +-------+---------+-------+---------+-----------+--------+-----------+--------+-----+--------------+--------+

`model` is the beginning (2 or 10 bytes) of the fingerprint of the bundle that wrote a file; no other can read it.
The way back: image_file.read or archive.Archive.payload, then payload.read (packing.unpack or entropy.read_tokens).
"""
