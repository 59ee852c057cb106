"""Measurements that docs/results.md quotes."""
