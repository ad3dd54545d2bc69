"""Plans by rules: what is wanted, which parts it takes, in which order, until when.

Each of the rules is a function of plain values that gives a plain value, so that whoever has a
better planner can fall back to it.
"""
