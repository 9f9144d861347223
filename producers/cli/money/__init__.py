"""The commands about money and about what left the building, for an operator or an auditor."""
