"""What the nouns are built from: names, transport, retry, operations. Not public."""
