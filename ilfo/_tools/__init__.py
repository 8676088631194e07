"""Helpers that know nothing of rewards and agents.

Files that are written whole or not at all, errors, checks of options, lists of numbers, running means, words.
"""
