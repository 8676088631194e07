"""What any program needs, and nothing of learning.

Files that are written whole or not at all, errors, flags of numbers, running means, words.
"""
