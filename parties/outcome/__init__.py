"""What a party was told or keeps at a session's end, and how it is shown."""
