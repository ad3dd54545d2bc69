"""What a workflow is: definition, expressions, plan, transition, canvas. Pure."""
