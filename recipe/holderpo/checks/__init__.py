"""Everything that is refused or derived before a run starts."""
