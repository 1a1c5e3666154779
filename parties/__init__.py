"""One organisation: its node, its workers, the dealer, and what they agree on with others."""
