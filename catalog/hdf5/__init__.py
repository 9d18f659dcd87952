"""HDF5 without EXDF: groups, datasets, values and chunks of a file, by the library or by bytes."""
