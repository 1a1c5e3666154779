"""From a plan to its contract and its costs."""
