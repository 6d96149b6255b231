"""The whole product on one machine: its engines, its processes and its front door."""
