"""Who may ask for what: accounts, tokens, logins, and the guard that stands before every route."""
