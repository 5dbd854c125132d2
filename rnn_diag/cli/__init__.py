"""The command line: compose a configuration, build the run, fit, and print what came out."""
