"""Rewards: functions of one response, usable as verl custom rewards."""
