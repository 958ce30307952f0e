"""Files drawn beside each other, and one of them kept."""
