"""What is remembered: records of what workflows, agents, resources and escalations came to."""
