"""A mail server and a text-message network on one machine, for trying the product out."""
