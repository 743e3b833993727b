"""Typed vision tasks: a task request becomes a question, and the text a typed answer."""
