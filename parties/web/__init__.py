"""What the gateway's console and a node's local page have in common: loopback addresses, logins, a server, a style."""

from pathlib import Path

STYLE = Path(__file__).parent / "style.css"
