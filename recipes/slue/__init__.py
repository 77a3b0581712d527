"""Text tasks of spoken language understanding, and what recognition errors cost them."""
