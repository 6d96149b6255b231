"""How the product is brought up: on one machine, in containers, in a cluster."""
