"""Self-contained HTML: page shell, inline SVG plots, audio players, tables, and the pages made of them."""
