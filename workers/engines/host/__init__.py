"""An engine in a process of its own, watched and started again."""
