"""The arq side: a process that takes runs from the queues and executes them."""
