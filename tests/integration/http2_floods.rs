//! Clients of HTTP/2 that flood, stall or take back, against one that is honest.
