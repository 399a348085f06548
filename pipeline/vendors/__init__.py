"""How a vendor shows our nouns, in its API and to its webhooks alike."""
