"""How fast a fit, a grid of fits and an epoch are, beside what one would write or pick instead."""
