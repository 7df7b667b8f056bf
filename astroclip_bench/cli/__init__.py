"""The command `astroclip-bench`. Results go to standard output, everything else to standard error."""
