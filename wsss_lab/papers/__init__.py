"""A folder per paper: its route through the stages, its tables, its figures and its claims."""
