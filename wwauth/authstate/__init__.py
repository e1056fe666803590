"""Baileys' session management in Python: credentials and signal keys that are never lost."""
