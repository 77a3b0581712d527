"""Other manifest formats; each module documents what its format cannot represent."""
