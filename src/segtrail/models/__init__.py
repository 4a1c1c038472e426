"""Networks, losses, training and checkpoints. Everything here needs torch; nothing here reads scans."""
