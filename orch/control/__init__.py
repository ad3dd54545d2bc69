"""How one steers: definitions, starting, advancing, asking."""
