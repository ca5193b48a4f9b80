"""The command: arguments, the two processes, bars, lines, signals and exit codes. The only room that prints."""
