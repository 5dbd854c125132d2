"""Images for TensorBoard, drawn by NumPy and Pillow alone, from numbers."""
