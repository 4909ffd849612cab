"""What the five papers report, run again, and a verdict per row."""
