"""The process of a user that asks the person in front of it, on behalf of virtcardd."""
