//! Addresses that cannot be bound.

use std::io;

/// What to do about it, for the end of a message; empty where that is not known.
pub fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; 'ss -lnptu' shows who is there",
        io::ErrorKind::AddrNotAvailable => "; 'ip address' shows those of this machine",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE, or a port above"
        }
        _ => "",
    }
}
