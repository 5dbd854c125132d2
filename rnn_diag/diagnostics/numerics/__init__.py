"""What measures compute with: Krylov subspaces, tangents, norms of powers, double precision, the order of reading."""
