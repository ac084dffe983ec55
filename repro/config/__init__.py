"""What can be configured: the schema, the files of `conf/`, and what the help says of them."""
