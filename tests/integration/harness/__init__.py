"""What the integration tests are written with: sites, sockets, programs, waiting."""
