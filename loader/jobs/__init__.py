"""Long jobs that read array data of many runs: profiles, validation, deep checks."""
