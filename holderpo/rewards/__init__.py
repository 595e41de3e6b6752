"""Functions that give a response its reward, usable as custom reward functions of verl."""
