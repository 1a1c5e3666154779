"""A node's own local page: its operator decides here, its compliance officer reads."""
