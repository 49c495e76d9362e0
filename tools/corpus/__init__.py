"""From a table of videos and captions to shards."""
