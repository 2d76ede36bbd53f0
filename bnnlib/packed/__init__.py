"""A trained network as bits: what it holds, and what that takes."""
