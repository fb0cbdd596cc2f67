"""Where the time of training goes: parts, products, memory, and what to change."""
