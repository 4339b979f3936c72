"""The paper's claims, checked: one module in ``chapters`` for each chapter of the book, shared tools beside them."""
