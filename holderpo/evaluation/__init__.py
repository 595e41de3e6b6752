"""Reading runs: intervals, tables and pictures."""
