//! Sources of bindings: lease files and live feeds of DHCP servers.
