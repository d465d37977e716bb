"""Key services: who holds the key-encryption key."""
