"""How good translations are, by how much models differ, and how healthy their attention is."""
