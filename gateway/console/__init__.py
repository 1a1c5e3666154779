"""Pages for browsers, rendered by the gateway."""
