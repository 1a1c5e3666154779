"""What may be wrong with a node or a dealer, found from its home: it changes nothing, and needs no daemon."""
