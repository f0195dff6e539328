"""Growing the e-graph: which rules are searched and applied, when, and when to stop."""
