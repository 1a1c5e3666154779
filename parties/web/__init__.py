"""What the gateway's console and a node's local page have in common: addresses, logins, a server, a style, pictures."""

from pathlib import Path

STYLE = Path(__file__).parent / "style.css"
TEMPLATES = Path(__file__).parent / "templates"
