"""What is measured of a layer, as sums and counts that merge exactly over calls and ranks."""
