"""The wiring of HölderPO into stock verl."""
