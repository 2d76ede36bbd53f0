"""Packed networks in the formats of others."""
