"""Reading answers: free text becomes labels, numbers and places."""
