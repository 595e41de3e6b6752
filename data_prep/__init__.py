"""Data sets as verl parquet files, one module each, and the tiny model of the demo."""
