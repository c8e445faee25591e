"""From what happened to what each viewer is sent: views, followers, catching up, and the hub that joins them."""
