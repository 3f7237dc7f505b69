"""From a checked config to a recorded run: the only place where training meets the disk."""
