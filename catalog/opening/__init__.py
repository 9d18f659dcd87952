"""Facts about one run directory, for the loader: catalogued, scanned, or read on demand."""
