"""Similarity of tasks by Fisher information, and a library of known tasks with their good cells."""
