"""Dropout sweeps: run as `python -m src.train` from the repository's root. Users import `dropout_sweeps`."""
