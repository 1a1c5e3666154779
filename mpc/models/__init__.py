"""Model families: what becomes of a score, once its angle is open."""
