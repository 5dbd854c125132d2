"""What several experiments are made of."""
