"""The fixture `workshop`, the copy of the project that a user has put noises into, is that of the sweeps' tests."""

from test_sweep import workshop as workshop
