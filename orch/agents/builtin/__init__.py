"""Capabilities that ship with the package. Importing one of the modules registers it."""

BUILTIN_MODULES = (
    "orch.agents.builtin.command_execution",
    "orch.agents.builtin.component_generation",
    "orch.agents.builtin.file_operations",
    "orch.agents.builtin.git_operations",
    "orch.agents.builtin.page_operations",
)
