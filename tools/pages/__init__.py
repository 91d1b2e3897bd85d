"""Self-contained HTML pages with charts, for reports."""
