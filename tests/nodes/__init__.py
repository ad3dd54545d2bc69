"""The package in pytest-celery's frame: a broker node and two worker nodes for each test.

The nodes are containers of the project's own image where a Docker daemon answers, else local
processes; the tests are the same.
"""
