"""Who can do what: capabilities, their context, and the built-in ones."""
