"""What `make demo` runs: a real Label Studio and this backend side by side, with clips to look at."""
