"""Detectors of several modules: frames matched over modules, read into one array, labelled."""
