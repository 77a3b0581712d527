"""How much of speech a frozen encoder makes easy to read: probes in the manner of SUPERB, and word discrimination."""
