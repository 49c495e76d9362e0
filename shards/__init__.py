"""Bytes on disk and in a bucket: shards, their metadata and their index; knows no tensor and no training."""
