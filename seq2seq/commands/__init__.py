"""The command line: `main` runs a command, and each command is a file that holds its options and its code."""
