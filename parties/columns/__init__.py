"""How an owner's columns become the engine's: recipes, and what they do to rows."""
