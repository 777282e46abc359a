"""What the Kubernetes tests are written with: a cluster of real programs, namespaces, users."""
