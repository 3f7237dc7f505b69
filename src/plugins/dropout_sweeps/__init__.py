"""The import name for Python users: what `pip install -e .` makes importable from anywhere, beside the commands."""

from importlib.metadata import version

__version__ = version("dropout-sweeps")
