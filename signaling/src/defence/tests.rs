//! The defence as a whole, in simulated time.

use std::net::SocketAddr;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

struct Bed {
    defence: Defence,
    now: Instant,
}

impl Bed {
    fn new() -> Self {
        Self::with(&config::Defence::default())
    }

    fn with(config: &config::Defence) -> Self {
        let now = Instant::now();
        Self {
            defence: Defence::new(config, Duration::from_millis(500), now),
            now,
        }
    }

    fn report(&self, flow: &Flow, evidence: Evidence) -> bool {
        self.defence.report(self.now, flow, evidence)
    }

    /// The source tries a password of a user; tells whether it is banned for it.
    fn tries(&self, flow: &Flow, user: &str, is_right: bool) -> bool {
        let evidence = match is_right {
            true => Evidence::Success,
            false => Evidence::WrongPassword,
        };
        self.defence.report_user(self.now, flow, evidence, user)
    }

    fn is_banned(&self, address: &str) -> bool {
        self.refuses(address, Transport::Tcp)
    }

    fn refuses(&self, address: &str, transport: Transport) -> bool {
        let address = address.parse().unwrap();
        self.defence.is_banned(self.now, address, transport)
    }

    /// Four seconds of a thousand REGISTERs each; how many of them are worked on.
    fn flood(&mut self, flow: &Flow) -> usize {
        let passed = (0..4_000).filter(|_| {
            self.now += Duration::from_millis(1);
            self.passes(flow, &register("x"))
        });
        passed.count()
    }

    /// How many of so many datagrams of one source, a millisecond apart, are not refused for a ban.
    fn trickle(&mut self, address: &str, tries: u32) -> usize {
        let passed = (0..tries).filter(|_| {
            self.now += Duration::from_millis(1);
            !self.refuses(address, Transport::Udp)
        });
        passed.count()
    }

    /// Reports until a ban comes; tells how many it took, of 100 at most.
    fn until_banned(&self, flow: &Flow, evidence: Evidence) -> Option<usize> {
        (1..=100).find(|_| self.report(flow, evidence))
    }

    /// How long the ban of `address` lasts from now on.
    fn length(&self, address: &str) -> Duration {
        let source = Source::of(address.parse().unwrap());
        let bans = self.defence.list(self.now);
        let ban = bans.iter().find(|(block, _)| *block == source.block());
        ban.map_or(Duration::ZERO, |(_, ban)| ban.until - self.now)
    }

    fn judge(&self, flow: &Flow, message: &str) -> Verdict {
        let peek = Peek::at(message.as_bytes());
        self.defence
            .judge(self.now, flow, &peek, |value| value == CHALLENGED)
    }

    fn passes(&self, flow: &Flow, message: &str) -> bool {
        matches!(self.judge(flow, message), Verdict::Pass(_))
    }
}

/// Credentials that answer a challenge.
const CHALLENGED: &[u8] = b"Digest answers";
const STRANGER: Verdict = Verdict::Pass(Standing::Stranger);
const KNOWN: Verdict = Verdict::Pass(Standing::Known);
const TRUSTED: Verdict = Verdict::Pass(Standing::Trusted);

fn flow(transport: Transport, remote: &str) -> Flow {
    let remote: SocketAddr = remote.parse().unwrap();
    Flow::to(transport, "192.0.2.1:5060".parse().unwrap(), remote)
}

fn tcp() -> Flow {
    flow(Transport::Tcp, "203.0.113.5:4000")
}

fn udp() -> Flow {
    flow(Transport::Udp, "203.0.113.5:5060")
}

fn register(agent: &str) -> String {
    format!("REGISTER sip:h SIP/2.0\r\nTo: <sip:a@h>\r\nCall-ID: 1\r\nUser-Agent: {agent}\r\n\r\n")
}

/// A REGISTER with credentials.
fn proof(value: &str) -> String {
    register("x").replace("Call-ID", &format!("Authorization: {value}\r\nCall-ID"))
}

/// The first address of so manieth network.
fn stranger(network: u32) -> Flow {
    let address = std::net::Ipv4Addr::from(0x0b00_0001 + (network << 8));
    flow(Transport::Udp, &format!("{address}:5060"))
}

#[test]
fn guessing_passwords_bans_over_either_transport_and_weak_signs_take_longer() {
    for flow in [tcp(), udp()] {
        assert_eq!(
            Bed::new().until_banned(&flow, Evidence::WrongPassword),
            Some(4)
        );
    }
    let weak = Bed::new().until_banned(&tcp(), Evidence::HandshakeFailed);
    assert_eq!(weak, Some(12));
}

#[test]
fn nobody_can_have_another_banned_by_datagrams_in_his_name() {
    for evidence in [Evidence::ForgedNonce, Evidence::NotSip, Evidence::Scanner] {
        assert_eq!(
            Bed::new().until_banned(&udp(), evidence),
            None,
            "{evidence:?}"
        );
        assert!(
            Bed::new().until_banned(&tcp(), evidence).is_some(),
            "{evidence:?}"
        );
    }
}

#[test]
fn who_proved_to_be_there_and_never_acknowledges_is_held_off() {
    for flow in [udp(), tcp()] {
        let times = Bed::new().until_banned(&flow, Evidence::NeverAcked);
        assert_eq!(times, Some(12));
    }
}

#[test]
fn where_phones_have_registered_acks_may_get_lost() {
    let mut bed = Bed::new();
    assert!(!bed.report(&udp(), Evidence::Registered));
    assert_eq!(bed.until_banned(&udp(), Evidence::NeverAcked), None);
    assert_eq!(
        bed.until_banned(&udp(), Evidence::WrongPassword),
        Some(4),
        "other evidence counts"
    );
    // Neither a call's credentials nor an answer to our BYE show a phone.
    let other = flow(Transport::Udp, "203.0.113.6:5060");
    bed.report(&other, Evidence::Success);
    bed.report(&other, Evidence::Answered);
    assert_eq!(bed.until_banned(&other, Evidence::NeverAcked), Some(12));
    // Nor does a phone that was there yesterday.
    bed.now += 24 * 60 * MINUTE;
    assert_eq!(bed.until_banned(&udp(), Evidence::NeverAcked), Some(12));
}

#[test]
fn success_resets_and_time_forgets() {
    let mut bed = Bed::new();
    for _ in 0..20 {
        for _ in 0..3 {
            assert!(!bed.report(&tcp(), Evidence::NotSip));
        }
        assert!(!bed.tries(&tcp(), "a@h", true));
    }
    for _ in 0..3 {
        assert!(!bed.report(&tcp(), Evidence::NotSip));
    }
    bed.now += 10 * MINUTE;
    assert!(!bed.report(&tcp(), Evidence::NotSip));
}

#[test]
fn an_old_password_in_one_phone_bans_no_office() {
    let mut bed = Bed::new();
    assert!(!bed.tries(&udp(), "good@h", true));
    // Every half minute of a day; the others register every hour.
    for half_minute in 0..2 * 60 * 24 {
        assert!(!bed.tries(&udp(), "old@h", false), "{half_minute}");
        if half_minute % 120 == 0 {
            assert!(!bed.tries(&udp(), "good@h", true));
        }
        bed.now += MINUTE / 2;
    }
    // A second one, and one whose user mistypes it twice and then does not.
    assert!(!bed.tries(&udp(), "older@h", false));
    for is_right in [false, false, true] {
        assert!(!bed.tries(&udp(), "new@h", is_right));
    }
}

#[test]
fn where_nobody_has_proved_himself_the_fourth_wrong_password_bans_whosever_it_is() {
    for users in [["a@h"; 4], ["a@h", "b@h", "c@h", "d@h"]] {
        let bed = Bed::new();
        let banned = users.map(|user| bed.tries(&udp(), user, false));
        assert_eq!(banned, [false, false, false, true]);
    }
}

#[test]
fn an_account_pays_for_no_guesses_at_others() {
    let mut bed = Bed::new();
    let mut lengths = Vec::new();
    let mut users = 0;
    for _ in 0..3 {
        let banned = (1..=100).find(|_| {
            users += 1;
            bed.tries(&tcp(), "own@h", true);
            bed.tries(&tcp(), &format!("{users}@h"), false)
        });
        assert!(banned.is_some_and(|guesses| guesses <= 4), "{banned:?}");
        lengths.push(bed.length("203.0.113.5"));
        bed.now += bed.length("203.0.113.5");
    }
    // Nor do bans become shorter by it.
    assert_eq!(lengths, [5 * MINUTE, 10 * MINUTE, 20 * MINUTE]);
}

#[test]
fn guesses_at_one_user_are_banned_too_where_no_phone_would_try_as_often() {
    let mut bed = Bed::new();
    let banned = (1..=200).find(|_| {
        bed.tries(&tcp(), "own@h", true);
        bed.now += Duration::from_secs(1);
        bed.tries(&tcp(), "other@h", false)
    });
    assert!(banned.is_some(), "{banned:?}");
}

#[test]
fn each_ban_is_longer_up_to_24_times_and_patience_is_shorter() {
    let mut bed = Bed::new();
    let mut lengths = Vec::new();
    for nth in 0..7 {
        let signs = bed.until_banned(&udp(), Evidence::WrongPassword);
        assert_eq!(signs, Some(if nth == 0 { 4 } else { 1 }), "ban {nth}");
        let length = bed.length("203.0.113.5");
        lengths.push(length.as_secs() / 300);
        bed.now += length;
        assert!(!bed.is_banned("203.0.113.5"));
    }
    assert_eq!(lengths, [1, 2, 4, 8, 16, 24, 24]);
    bed.now += Duration::from_secs(25 * 300);
    assert_eq!(bed.until_banned(&udp(), Evidence::WrongPassword), Some(4));
    assert_eq!(bed.length("203.0.113.5"), 5 * MINUTE);
}

#[test]
fn a_ban_slides_while_its_source_goes_on_but_not_for_ever() {
    let mut bed = Bed::new();
    bed.until_banned(&tcp(), Evidence::WrongPassword).unwrap();
    let start = bed.now;
    while bed.is_banned("203.0.113.5") {
        bed.now += MINUTE;
        assert!(bed.now < start + 500 * MINUTE);
    }
    assert_eq!(bed.now - start, 24 * 5 * MINUTE);
}

#[test]
fn the_allow_set_is_beyond_everything() {
    let bed = Bed::with(&config::Defence {
        allow: vec!["203.0.113.0/24".parse().unwrap()],
        ..config::Defence::default()
    });
    assert_eq!(bed.until_banned(&tcp(), Evidence::Scanner), None);
    for _ in 0..10_000 {
        assert_eq!(bed.judge(&udp(), &register("sipvicious")), TRUSTED);
    }
    for block in [
        "203.0.113.7/32",
        "203.0.113.0/25",
        "203.0.0.0/8",
        "0.0.0.0/0",
    ] {
        let block = block.parse().unwrap();
        let banned = bed.defence.ban(bed.now, block, MINUTE, "");
        assert_eq!(banned, Err(BanError::Allowed), "{block}");
    }
}

#[test]
fn a_source_that_is_allowed_later_is_free_at_once() {
    let bed = Bed::new();
    bed.until_banned(&tcp(), Evidence::WrongPassword).unwrap();
    assert!(bed.is_banned("203.0.113.5"));
    let allow = ["203.0.113.0/24".parse().unwrap()];
    bed.defence.set_policy(bed.now, allow, Vec::new());
    assert!(!bed.is_banned("203.0.113.5"));
    assert_eq!(bed.defence.list(bed.now), []);
}

#[test]
fn a_customer_of_ipv6_is_banned_with_all_addresses() {
    let bed = Bed::new();
    let flow = flow(Transport::Tcp, "[2001:db8:1::5]:4000");
    bed.until_banned(&flow, Evidence::WrongPassword).unwrap();
    assert!(bed.is_banned("2001:db8:1::77"));
    assert!(!bed.is_banned("2001:db8:1:1::5"));
}

#[test]
fn scanners_get_silence_over_udp_and_a_ban_over_tcp() {
    let bed = Bed::new();
    for agent in ["friendly-scanner", "X SIPVicious/0.3", "sipcli/v1.8"] {
        assert_eq!(bed.judge(&udp(), &register(agent)), Verdict::Scanner);
    }
    assert!(!bed.is_banned("203.0.113.5"));
    assert_eq!(bed.judge(&udp(), &register("Yealink T46")), STRANGER);
    for _ in 0..4 {
        assert_eq!(bed.judge(&tcp(), &register("pplsip")), Verdict::Scanner);
    }
    assert!(bed.is_banned("203.0.113.5"));
}

#[test]
fn a_flood_is_limited_then_held_to_a_trickle_for_a_moment_and_never_one_of_ours() {
    let mut bed = Bed::new();
    let passed = bed.flood(&udp());
    assert!(
        (2 * 50 + 4 * 49..=2 * 50 + 4 * 50).contains(&passed),
        "{passed}"
    );
    let length = bed.length("203.0.113.5");
    assert!(!length.is_zero() && length <= ban::FLOOD, "{length:?}");
    // Datagrams may be anybody's: its connections are left alone.
    assert!(!bed.refuses("203.0.113.5", Transport::Tcp));
    assert_eq!(bed.trickle("203.0.113.5", 2_000), 2 * 50);
    bed.now += ban::FLOOD;
    assert!(!bed.refuses("203.0.113.5", Transport::Udp));
    assert!(!bed.refuses("203.0.113.5", Transport::Udp));

    let ours = flow(Transport::Udp, "203.0.113.6:5060");
    bed.report(&ours, Evidence::Success);
    bed.flood(&ours);
    assert_eq!(bed.trickle("203.0.113.6", 100), 100);
}

/// Thousands of phones behind one address that was never heard of, with their retransmissions.
#[test]
fn the_first_phone_that_proves_itself_frees_all_behind_its_address() {
    let mut bed = Bed::new();
    bed.flood(&udp());
    assert!(!bed.length("203.0.113.5").is_zero());
    bed.now += Duration::from_secs(1);
    // One that was challenged comes back: it is let through, and not as a stranger.
    assert!(!bed.refuses("203.0.113.5", Transport::Udp));
    assert_eq!(bed.judge(&udp(), &proof("Digest answers")), KNOWN);
    assert!(!bed.report(&udp(), Evidence::Success));
    assert_eq!(bed.length("203.0.113.5"), Duration::ZERO);
    assert_eq!(bed.defence.active(), 0);
    let passed = (0..5_000).filter(|_| bed.judge(&udp(), &register("x")) == KNOWN);
    assert_eq!(passed.count(), 5_000);
}

#[test]
fn a_flood_from_addresses_without_number_leaves_room_for_those_who_are_known() {
    let mut bed = Bed::with(&config::Defence {
        strangers: 100,
        ..config::Defence::default()
    });
    let ours = flow(Transport::Udp, "203.0.113.6:5060");
    bed.report(&ours, Evidence::Success);
    let mut passed = 0;
    for network in 0..20_000 {
        passed += usize::from(bed.judge(&stranger(network), &register("x")) == STRANGER);
    }
    assert_eq!(passed, 200);
    assert_eq!(bed.judge(&stranger(30_000), &register("x")), Verdict::Crowd);
    assert_eq!(bed.judge(&ours, &register("x")), KNOWN);
    // Neither who was challenged, nor a stream, nor what ends a call, is kept out by it.
    let answer = bed.judge(&stranger(30_000), &proof("Digest answers"));
    assert_eq!(answer, KNOWN);
    assert_eq!(bed.judge(&tcp(), &register("x")), STRANGER);
    let bye = "BYE sip:h SIP/2.0\r\nTo: <sip:a@h>;tag=1\r\nCall-ID: 1\r\n\r\n";
    assert_eq!(bed.judge(&stranger(30_000), bye), STRANGER);
    let guess = bed.judge(&stranger(30_000), &proof("Digest guesses"));
    assert_eq!(guess, Verdict::Crowd);
    bed.now += Duration::from_secs(1);
    assert_eq!(bed.judge(&stranger(30_000), &register("x")), STRANGER);
}

#[test]
fn looks_at_nonces_are_bounded_too() {
    let bed = Bed::with(&config::Defence {
        strangers: 100,
        ..config::Defence::default()
    });
    let mut looks = 0;
    for network in 0..20_000 {
        let message = proof("Digest guesses");
        let peek = Peek::at(message.as_bytes());
        let look = |_: &[u8]| {
            looks += 1;
            false
        };
        bed.defence.judge(bed.now, &stranger(network), &peek, look);
    }
    assert_eq!(looks, 2 * 4 * 100);
}

#[test]
fn a_stream_is_not_banned_for_what_datagrams_do_but_for_what_it_does() {
    let mut bed = Bed::new();
    bed.flood(&tcp());
    assert!(!bed.is_banned("203.0.113.5"));
    assert_eq!(bed.until_banned(&tcp(), Evidence::Flooding), Some(4));
    assert_eq!(Bed::new().until_banned(&udp(), Evidence::Flooding), None);
}

#[test]
fn forged_datagrams_do_not_empty_the_bucket_of_a_connection() {
    let bed = Bed::new();
    for _ in 0..900 {
        bed.judge(&udp(), &register("x"));
    }
    assert_eq!(bed.judge(&udp(), &register("x")), Verdict::Limited);
    assert_eq!(bed.judge(&tcp(), &register("x")), STRANGER);
}

#[test]
fn a_network_may_ask_eight_times_as_much_as_one_of_it() {
    let bed = Bed::new();
    let passed = (0..=255)
        .flat_map(|last| (0..100).map(move |_| last))
        .filter(|last| {
            let flow = flow(Transport::Udp, &format!("203.0.113.{last}:5060"));
            bed.passes(&flow, &register("x"))
        })
        .count();
    assert_eq!(passed, 8 * 2 * 50);
}

#[test]
fn calls_for_help_of_ours_are_not_limited_and_a_strangers_least() {
    let bed = Bed::new();
    let allow = [];
    bed.defence
        .set_policy(bed.now, allow, vec!["112".to_owned()]);
    let uris = [
        "sip:112@h",
        "urn:service:sos.fire",
        "tel:112;phone-context=x",
    ];
    let ours = flow(Transport::Udp, "203.0.113.77:5060");
    bed.report(&ours, Evidence::Answered);
    let calls = |flow: &Flow| {
        let uris = (0..2_000).flat_map(|_| uris);
        let passed = uris.filter(|uri| {
            let invite = format!("INVITE {uri} SIP/2.0\r\nTo: <{uri}>\r\nCall-ID: 1\r\n\r\n");
            bed.passes(flow, &invite)
        });
        passed.count()
    };
    assert_eq!(calls(&ours), 6_000);
    assert_eq!(calls(&udp()), 2 * 500);
    let other = "INVITE sip:1120@h SIP/2.0\r\nTo: <sip:1@h>\r\n\r\n";
    let passed = (0..500).filter(|_| bed.passes(&udp(), other));
    assert_eq!(passed.count(), 2 * 20);
}

#[test]
fn a_tag_makes_a_strangers_request_no_part_of_a_dialog() {
    let invite = "INVITE sip:1@h SIP/2.0\r\nTo: <sip:1@h>;tag=1\r\n\r\n";
    let options = "OPTIONS sip:1@h SIP/2.0\r\nTo: <sip:1@h>;tag=1\r\n\r\n";
    let bye = "BYE sip:1@h SIP/2.0\r\nTo: <sip:1@h>;tag=1\r\n\r\n";
    let ack = "ACK sip:1@h SIP/2.0\r\nTo: <sip:1@h>;tag=1\r\n\r\n";
    let passed = |bed: &Bed, message: &str| {
        let passed = (0..10_000).filter(|_| bed.passes(&udp(), message));
        passed.count()
    };
    for (message, most) in [(invite, 20), (options, 50), (bye, 500), (ack, 500)] {
        assert_eq!(passed(&Bed::new(), message), 2 * most, "{message}");
    }
    // Who is known asks within his calls what he wants.
    let bed = Bed::new();
    bed.report(&udp(), Evidence::Success);
    assert_eq!(passed(&bed, invite), 10_000);

    // Nor does it take from what is for the ends of calls.
    let bed = Bed::with(&config::Defence {
        strangers: 100,
        ..config::Defence::default()
    });
    let passed = (0..20_000).filter(|network| bed.passes(&stranger(*network), invite));
    assert_eq!(passed.count(), 200);
    assert_eq!(bed.judge(&stranger(30_000), &register("x")), Verdict::Crowd);
    assert_eq!(bed.judge(&stranger(30_000), bye), STRANGER);
}

#[test]
fn strangers_may_answer_much_less_than_ours() {
    let bed = Bed::new();
    let response = "SIP/2.0 200 OK\r\nTo: <sip:1@h>;tag=1\r\n\r\n";
    let passed = |bed: &Bed| {
        let passed = (0..10_000).filter(|_| bed.passes(&udp(), response));
        passed.count()
    };
    assert_eq!(passed(&bed), 2 * 500);
    bed.report(&udp(), Evidence::Answered);
    assert_eq!(passed(&bed), 10_000);
}

#[test]
fn the_addresses_of_one_customer_of_ipv6_share_a_bucket() {
    let bed = Bed::new();
    let passed = (0..5_000).filter(|number| {
        let flow = flow(Transport::Udp, &format!("[2001:db8:1:2::{number:x}]:5060"));
        bed.passes(&flow, &register("x"))
    });
    assert_eq!(passed.count(), 2 * 50);
}

#[test]
fn operators_ban_blocks_and_lift_them() {
    let mut bed = Bed::new();
    let block: Cidr = "198.51.100.9/24".parse().unwrap();
    bed.defence.ban(bed.now, block, MINUTE, "abuse").unwrap();
    let one: Cidr = "203.0.113.5".parse().unwrap();
    bed.defence.ban(bed.now, one, MINUTE, "abuse").unwrap();
    assert!(bed.is_banned("198.51.100.200") && bed.is_banned("203.0.113.5"));
    assert!(bed.defence.lift("198.51.100.0/24".parse().unwrap()));
    assert!(!bed.is_banned("198.51.100.200"));
    assert!(!bed.defence.lift("198.51.100.0/24".parse().unwrap()));
    bed.now += MINUTE;
    assert!(!bed.is_banned("203.0.113.5"));
    bed.defence.expire(bed.now);
    assert_eq!(bed.defence.active(), 0);
}

#[test]
fn changes_are_told_in_order_and_too_many_as_one() {
    let bed = Bed::new();
    bed.until_banned(&tcp(), Evidence::WrongPassword).unwrap();
    let block = Source::of("203.0.113.5".parse().unwrap()).block();
    bed.defence.lift(block);
    let changes = bed.defence.take_changes().unwrap();
    assert!(
        matches!(changes[..], [Change::Banned(b, _), Change::Lifted(l)] if b == block && l == block)
    );
    assert_eq!(bed.defence.take_changes(), Some(Vec::new()));
    for n in 0..10_000_u32 {
        let block = Cidr::new(IpAddr::V4((0x0b00_0000 + n).into()), 32);
        bed.defence.ban(bed.now, block, MINUTE, "").unwrap();
    }
    assert_eq!(bed.defence.take_changes(), None);
    assert_eq!(bed.defence.list(bed.now).len(), 10_000);
}

#[test]
fn a_flood_of_bans_pushes_out_none_of_a_higher_rank() {
    let bed = Bed::new();
    let operators: Cidr = "203.0.113.9".parse().unwrap();
    bed.defence.ban(bed.now, operators, MINUTE, "").unwrap();
    bed.until_banned(&tcp(), Evidence::WrongPassword).unwrap();
    let count = u32::try_from(BANS).unwrap() + 5_000;
    for network in 0..count {
        let address = stranger(network).remote.ip();
        let source = Source::of(address);
        bed.defence.shard(address).bans.flood(bed.now, source);
    }
    assert!(bed.is_banned("203.0.113.5") && bed.is_banned("203.0.113.9"));
    for network in 0..count {
        let from = stranger(network);
        let tcp = Flow::to(Transport::Tcp, from.local, from.remote);
        bed.until_banned(&tcp, Evidence::WrongPassword).unwrap();
    }
    assert!(bed.is_banned("203.0.113.9"));
    assert!(bed.defence.list(bed.now).len() <= BANS);
}

#[test]
fn no_table_grows_beyond_its_bound() {
    let bed = Bed::new();
    for n in 0..200_000_u32 {
        let remote = IpAddr::V4((0x0b00_0000 + n * 7).into());
        let flow = Flow::to(Transport::Tcp, tcp().local, SocketAddr::new(remote, 4_000));
        for _ in 0..4 {
            bed.tries(&flow, "a@h", false);
        }
    }
    assert!(bed.defence.list(bed.now).len() <= BANS);
    for shard in &bed.defence.shards {
        let shard = lock(shard);
        assert!(shard.bans.len() <= BANS / SHARDS);
        assert!(shard.bans.records() <= SOURCES / SHARDS);
    }
}

#[test]
fn who_is_known_stays_so_whatever_others_do() {
    let bed = Bed::new();
    let ours = flow(Transport::Udp, "203.0.113.6:5060");
    bed.report(&ours, Evidence::Success);
    for n in 0..300_000_u32 {
        // Each in a /64 of its own.
        let address = std::net::Ipv6Addr::from((0x2001_0db8_0000_0000_u128 + u128::from(n)) << 64);
        let evidence = Evidence::NotSip;
        bed.defence
            .report_from(bed.now, address.into(), Transport::Tcp, evidence);
    }
    assert_eq!(bed.judge(&ours, &register("x")), KNOWN);
}

#[test]
fn a_reload_replaces_rules_rates_and_scanners_and_keeps_bans() {
    let bed = Bed::new();
    let wrong = Evidence::WrongPassword;
    assert_eq!(bed.until_banned(&tcp(), wrong), Some(4));
    let strict = config::Defence {
        threshold: 3,
        others: 1,
        scanners: vec!["Nosy".to_owned()],
        shed_after: Some(250),
        ..config::Defence::default()
    };
    bed.defence.reload(&strict, Duration::from_millis(500));
    assert!(bed.is_banned("203.0.113.5"));
    assert_eq!(bed.defence.shed_after(), Duration::from_millis(250));
    let other = flow(Transport::Tcp, "203.0.113.77:4000");
    assert_eq!(bed.until_banned(&other, wrong), Some(1));
    let third = flow(Transport::Tcp, "198.51.100.9:4000");
    let options = |agent: &str| {
        format!("OPTIONS sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\nUser-Agent: {agent}\r\n\r\n")
    };
    assert_eq!(bed.judge(&third, &options("a nosy one")), Verdict::Scanner);
    let passed = (0..100).filter(|_| matches!(bed.judge(&third, &options("x")), Verdict::Pass(_)));
    assert!(passed.count() < 20);
}
