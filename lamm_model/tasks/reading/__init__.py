"""Reading of answers: free text to labels, numbers and places."""
