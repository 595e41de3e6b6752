"""The policy gradient measured as a function of the order."""
