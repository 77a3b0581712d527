"""Self-contained HTML reports: page template, inline SVG plots, audio players, tables, and report pages."""
