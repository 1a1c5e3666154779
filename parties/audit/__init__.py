"""What happened at one participant, so written down that nobody can rewrite it unnoticed, and checked offline."""
