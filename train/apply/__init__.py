"""What trained models are used for, from the command line."""
