"""A capability, a workflow in YAML, one as pydantic models; both started and waited for."""

from orch import Orchestrator, WorkflowDefinition, WorkflowStep, capability


@capability("greet")
def greet(name: str, greeting: str = "Hello") -> dict[str, str]:
    return {"text": f"{greeting}, {name}!"}


in_yaml = """
name: Welcome
steps:
  - id: first
    capability: greet
    input: {name: $.input.name}
    output: {said: $.output.text}
    next: again
  - id: again
    capability: greet
    input: {name: "${$.input.name} (who was told: ${$.variables.said})"}
"""
in_python = WorkflowDefinition(
    name="Good-bye",
    steps=[
        WorkflowStep(
            id="last", capability="greet", input={"name": "$.input.name", "greeting": "Good-bye"}
        )
    ],
)

if __name__ == "__main__":
    with Orchestrator() as orchestrator, orchestrator.workers(include=[__file__]):
        for name, definition in {"welcome": in_yaml, "goodbye": in_python}.items():
            orchestrator.define_workflow(name, definition)
            ended = orchestrator.start_workflow(name, {"name": "Ada"}).wait(timeout=30)
            print(ended.status, ended.output)
