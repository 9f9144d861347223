"""How good rankings are on outcomes that they have not seen."""
