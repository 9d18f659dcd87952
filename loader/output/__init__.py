"""Selected data as labelled arrays, dask graphs, datasets, references and files."""
