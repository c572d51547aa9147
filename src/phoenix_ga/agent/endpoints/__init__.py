"""The guest's ends of streams: files, processes and sockets."""
