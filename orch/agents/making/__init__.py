"""Files that agents make: names, templates that ship with the package, projects, components."""
