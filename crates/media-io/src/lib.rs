//! Media worker threads: sockets, batches, port leases.
