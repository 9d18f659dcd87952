"""What can be wrong with files, runs and the catalog, and how is it found?"""
