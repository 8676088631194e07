"""What any program needs, and nothing of learning: whole files, errors, flags of numbers, running means, words."""
