"""Files, media and tasks as the vendor's clients read them, in the words of the version that a client speaks."""
