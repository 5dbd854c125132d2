"""From the outcomes of experiments to a page, files and a run for TensorBoard."""
