"""What results say: quantities with their intervals, and a paper's claims as conditions over them."""
