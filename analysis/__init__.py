"""Numbers from finished runs: reports, comparisons, checks."""
