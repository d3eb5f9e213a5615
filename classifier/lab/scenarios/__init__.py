"""The scenarios, one file for each software; a file that is added here is found by itself."""
