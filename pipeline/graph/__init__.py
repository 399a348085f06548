"""Flows as graphs: read, planned, executed, drawn."""
