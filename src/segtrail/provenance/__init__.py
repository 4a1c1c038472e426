"""What each artifact was made from: keys, receipts, and what holds one to the other."""
