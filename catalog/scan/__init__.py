"""What lies on disk: run directories, their files, and what one HDF5 file holds."""
