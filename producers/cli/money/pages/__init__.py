"""The reports of money as self-contained HTML pages with plots."""
