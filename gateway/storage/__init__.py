"""What the gateway keeps: its database, the tables, and what is read and written of them."""
