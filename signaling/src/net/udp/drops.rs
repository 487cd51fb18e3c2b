//! What the kernel dropped because a socket's buffer was full, by its own table.

use std::{
    collections::HashMap,
    fs,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
};

use super::Group;

/// The drops of one socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::net) struct Drops {
    /// Where it is bound.
    pub(in crate::net) local: String,
    /// Which of the address's sockets it is.
    pub(in crate::net) socket: usize,
    pub(in crate::net) count: u64,
}

impl Group {
    /// The drops of each socket; without `/proc` nothing is known, and nothing is told.
    pub(in crate::net) fn drops(&self) -> Vec<Drops> {
        let path = match self.local.is_ipv4() {
            true => "/proc/net/udp",
            false => "/proc/net/udp6",
        };
        let by_inode = parse(&fs::read_to_string(path).unwrap_or_default());
        let drops = self.sockets.iter().enumerate().map(|(socket, bound)| {
            let fd = bound.socket.as_raw_fd();
            let inode = fs::metadata(format!("/proc/self/fd/{fd}")).ok()?.ino();
            Some(Drops {
                local: self.local.to_string(),
                socket,
                count: *by_inode.get(&inode)?,
            })
        });
        drops.flatten().collect()
    }
}

/// Drops by the socket's inode.
fn parse(table: &str) -> HashMap<u64, u64> {
    let rows = table.lines().skip(1);
    let rows = rows.filter_map(|row| {
        let mut columns = row.split_ascii_whitespace();
        let inode = columns.nth(9)?.parse().ok()?;
        Some((inode, columns.last()?.parse().ok()?))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read_by_inode() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
             \x20 100: 0100007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 00000000deadbeef 12\n\
             \x20 101: 0100007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 00000000deadbeef 0\n";
        assert_eq!(parse(table), HashMap::from([(4711, 12), (4712, 0)]));
        assert_eq!(parse("nonsense\n1 2\n"), HashMap::new());
    }
}
