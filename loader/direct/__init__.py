"""How are array data read past HDF5, where that gives the same bytes sooner?

HDF5 tells once where the chunks of a dataset lie; their bytes are then read and decoded here, in
several threads, without HDF5's lock. It is a short cut, never another meaning: what is not provably
equal is left to HDF5.

1. ``storage``: where the bytes of a dataset lie, or that they are none of ours.
2. ``tasks``: the reads that fill an array, each of which can be done on its own.
3. ``extents``: rows that lie in the file as in the array; ``parts``: all the others.
4. ``transfer``: bytes from the file; ``codec``: bytes decompressed.
"""
