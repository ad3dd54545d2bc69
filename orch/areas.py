"""What a record of the memory may be about."""

AREAS = (
    "WORKFLOW",
    "AGENT",
    "RESOURCE",
    "ESCALATION",
    "DELEG",
    "COORD",
    "MONITOR",
    "OPTIM",
    "REPORT",
    "VISUALIZE",
    "PERFORMANCE",
    "PREDICT",
)
"""The text of a record begins with `ORCH:AREA: `."""
