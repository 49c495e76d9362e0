"""Pictures of clips for a person to look at: contact sheets of a dataset, and of what the loader makes of it."""
