"""The ingress: HTTP and nothing else."""
