"""What one does to a network before it trains: initialise it, floss its gradients."""
