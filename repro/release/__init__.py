"""What a finished run gives to others: weight files, answers on images, a check of its views."""
