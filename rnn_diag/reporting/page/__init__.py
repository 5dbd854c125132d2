"""A page in one HTML file that needs nothing else: no script, no request, light and dark; and pictures for it."""
