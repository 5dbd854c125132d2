"""The experiments, one in a file; the name of the file is the word on the command line."""
