"""Named resources, and advice on how much of what is limited is needed."""
