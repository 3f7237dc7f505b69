"""`python -m analysis.check FILE.py`: is a learner's own dropout right? See README.md in this folder."""
