"""One module for each chapter of the book that needs one, of the chapter's name."""
