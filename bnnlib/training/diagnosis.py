"""``diagnose``: from what was measured inside the layers to the likely fault."""
