"""The engine: channels, keys and a program come in, shares and permitted disclosures go out.

No files, no network addresses, no organisations. Only `runtime` and what it starts import torch.
"""
