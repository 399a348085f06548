"""Benchmarks beside named peers, in one run, as medians and ratios; `make bench` prints them and keeps the results."""
