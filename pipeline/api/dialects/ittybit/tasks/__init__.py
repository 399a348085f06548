"""Tasks, workflows and automations: what they ask for becomes flows of our nodes, and what becomes of it is told."""
