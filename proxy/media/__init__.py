"""Bytes that are pictures and videos: what clients send in, and what goes out to them."""
