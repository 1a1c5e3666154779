"""A session's own process: what it is given and says, how it meets the others', what it computes."""
