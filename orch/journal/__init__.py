"""What is true: the only place that touches Redis for executions."""
