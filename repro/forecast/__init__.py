"""What a sweep would cost: its runs as rows, how fast they would be, the page that says so."""
