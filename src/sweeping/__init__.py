"""Sweeps and searches: from overrides to jobs, a campaign, and its table."""
