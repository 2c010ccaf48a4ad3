//! DHCPv4 and DHCPv6 leasequery messages, options and framing, without I/O or allocation.
