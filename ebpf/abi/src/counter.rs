//! What the program counts: each packet once, by what became of it and why; and copies that were lost.

/// The length of the counter array: a power of two, so that the program masks an index into it.
pub const COUNTERS_LEN: usize = 32;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterKind {
    /// Rewritten and sent on by the program.
    Forwarded,
    /// Left to the kernel's stack, and by it to a socket, unchanged.
    Passed,
    /// Dropped by the program.
    Dropped,
    /// No packet: the copy of one that was sent on.
    Copied,
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident = $value:literal, $kind:ident, $name:literal;)+) => {
        /// One counter for each outcome of the program and its reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Counter {
            $($(#[doc = $doc])+ $variant = $value,)+
        }

        impl Counter {
            /// Every counter.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The counter's label in metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What became of the packets that this counts.
            #[must_use]
            pub const fn kind(self) -> CounterKind {
                match self {
                    $(Self::$variant => CounterKind::$kind,)+
                }
            }
        }

        const _: () = assert!(Counter::ALL.len() <= COUNTERS_LEN);
    };
}

counters! {
    /// RTP sent back out of the interface it came from.
    RtpTx = 0, Forwarded, "rtp_tx";
    /// RTP sent out of another interface.
    RtpRedirect = 1, Forwarded, "rtp_redirect";
    /// RTCP sent back out of the interface it came from.
    RtcpTx = 2, Forwarded, "rtcp_tx";
    /// RTCP sent out of another interface.
    RtcpRedirect = 3, Forwarded, "rtcp_redirect";
    /// Neither IPv4 nor IPv6, or more than two VLAN tags.
    PassNotIp = 4, Passed, "pass_not_ip";
    /// Shorter than its headers say, or than the headers themselves.
    PassTruncated = 5, Passed, "pass_truncated";
    /// An IPv4 header with options.
    PassOptions = 6, Passed, "pass_ip_options";
    /// An IPv4 fragment, first or later.
    PassFragment = 7, Passed, "pass_fragment";
    /// An IPv6 packet with an extension header, a fragment header included.
    PassExtension = 8, Passed, "pass_ipv6_extension";
    /// Another protocol than UDP.
    PassNotUdp = 9, Passed, "pass_not_udp";
    /// The lengths of the UDP and the IP header contradict each other.
    PassLength = 10, Passed, "pass_length";
    /// UDP to a port that has no slot.
    PassNoSlot = 11, Passed, "pass_no_slot";
    /// UDP to a port with a slot, but not to the slot's address.
    PassAddress = 12, Passed, "pass_address";
    /// The slot leaves its packets to userspace.
    PassUserspace = 13, Passed, "pass_userspace";
    /// STUN by its first byte (RFC 7983).
    PassStun = 14, Passed, "pass_stun";
    /// DTLS by its first byte (RFC 7983).
    PassDtls = 15, Passed, "pass_dtls";
    /// Neither RTP nor RTCP, or too short to be either.
    PassNotRtp = 16, Passed, "pass_not_rtp";
    /// RTCP that the slot leaves to userspace.
    PassRtcp = 17, Passed, "pass_rtcp";
    /// A TTL or hop limit of 1 or 0.
    PassTtl = 18, Passed, "pass_ttl";
    /// The driver does not let the program make a header longer or shorter.
    PassHeadroom = 19, Passed, "pass_headroom";
    /// A UDP checksum of zero from or to IPv6 (RFC 8200 section 8.1).
    PassChecksum = 20, Passed, "pass_checksum";
    /// The slot was being written.
    PassBusy = 21, Passed, "pass_busy";
    /// The slot's interface is not in the device map.
    PassDevice = 22, Passed, "pass_device";
    /// From another address or port than the slot accepts.
    DropSource = 23, Dropped, "drop_source";
    /// From a banned source to a SIP port.
    DropBanned = 24, Dropped, "drop_banned";
    /// From IPv4, and too long for a link with IPv6's longer header.
    PassTooLong = 25, Passed, "pass_too_long";
    /// Beyond the cap of the slot.
    DropRate = 26, Dropped, "drop_rate";
    /// A copy that the ring had no room for. Its packet was sent on, and is counted there.
    TapFull = 27, Copied, "tap_full";
    /// Of a source that another one has taken the place of, and too late.
    DropStale = 28, Dropped, "drop_stale";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_indexes_and_names_are_unique() {
        for (index, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, index);
            assert!(
                Counter::ALL[..index]
                    .iter()
                    .all(|other| other.name() != counter.name())
            );
        }
    }
}
