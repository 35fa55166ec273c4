"""Evaluations: cases that say what the agent must do, scorers that need no judge, a report that can fail a build."""
