"""The action kind: functions without state."""
