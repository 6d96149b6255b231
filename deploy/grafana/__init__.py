"""The dashboard of operations, what makes it, and how Grafana finds it."""
