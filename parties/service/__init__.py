"""The daemons of nodes and dealers: their home and state, the gateway's stream, a session's way."""
