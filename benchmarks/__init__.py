"""The measurements; see README.md. A package, because an installed one has the same name."""
