"""Safelight: everything from an arriving byte to a saved output."""
