"""A whole consortium on one machine, and what only somebody with all files can compare."""
