"""How numbers are shown: pictures and TensorBoard, from numbers and never from a model."""
