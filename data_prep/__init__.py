"""Data sets as verl parquet files, one module each, and tiny models to try them with."""
