"""What is measured. Each workload runs one system once and gives its figures."""

from bench.workloads.catalog import ALONE, WORKLOADS, Workload
from bench.workloads.sizes import QUICK, Figures, Sizes

__all__ = ["ALONE", "QUICK", "WORKLOADS", "Figures", "Sizes", "Workload"]
