"""The words of the catalog: identity of runs, records of scans, train lists, errors."""
