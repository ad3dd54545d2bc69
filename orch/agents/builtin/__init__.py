"""Capabilities that ship with the package. Importing one of the modules registers it."""

BUILTIN_MODULES = (
    "orch.agents.builtin.code_analysis",
    "orch.agents.builtin.code_linting",
    "orch.agents.builtin.code_transformation",
    "orch.agents.builtin.command_execution",
    "orch.agents.builtin.component_generation",
    "orch.agents.builtin.deployment",
    "orch.agents.builtin.documentation_review",
    "orch.agents.builtin.file_operations",
    "orch.agents.builtin.git_operations",
    "orch.agents.builtin.modernization",
    "orch.agents.builtin.page_operations",
    "orch.agents.builtin.performance_optimization",
    "orch.agents.builtin.project_analysis",
    "orch.agents.builtin.project_scaffolding",
    "orch.agents.builtin.security_scanning",
    "orch.agents.builtin.system_monitoring",
    "orch.agents.builtin.task_planning",
    "orch.agents.builtin.test_execution",
)
