"""Who signs and who is trusted: identities, their successors, partners, TLS."""
