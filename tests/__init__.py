"""Tests, mirroring the packages. verl's wheel brings a top-level package of this name too."""
