"""Source code as agents review and change it: which files, by which programs, what was found."""
