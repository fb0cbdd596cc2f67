"""Models beside each other: a grid of trainings as a table, and whether two of them differ by more than luck."""
