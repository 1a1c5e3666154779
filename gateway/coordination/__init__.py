"""Sessions on their way: what participants say, what follows from it, and who is told."""
