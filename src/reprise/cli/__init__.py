"""The command line: one file for each verb. Everything heavy is imported inside the verb."""
