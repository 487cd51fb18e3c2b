//! Strangers against every policy: who bleeds, who injects, and for how long (CVE-2025-53399).
//!
//! A call of 20 s in simulated time. Its SDP is known from 1 s on, and the peer sends every 20 ms from
//! some moment on. A stranger sends every 20 ms too. What each of them gets is kept in `hostile.txt`;
//! `cargo test -p mediad --lib hostile -- --nocapture` prints it.

use super::*;

const MS: u64 = 1_000_000;
const SDP_AT: u64 = 1_000 * MS;
const END: u64 = 20_000 * MS;
const STEP: u64 = 20 * MS;
/// What the peer's stream is.
const SSRC: u32 = 7;

/// Where the peer is, as its SDP says and as it is seen.
#[derive(Clone, Copy)]
struct Place {
    name: &'static str,
    sdp: &'static str,
    seen: &'static str,
    /// Where its signaling comes from.
    seen_at: Option<&'static str>,
}

const PUBLIC: Place = Place {
    name: "public",
    sdp: "8.8.8.8:4000",
    seen: "8.8.8.8:4000",
    seen_at: Some("8.8.8.8"),
};
/// Behind a NAT that maps ports, but knows its public address.
const MAPPED: Place = Place {
    name: "mapped",
    sdp: "8.8.8.8:4000",
    seen: "8.8.8.8:61000",
    seen_at: Some("8.8.8.8"),
};
/// Behind a NAT, and so is its signaling.
const PHONE: Place = Place {
    name: "phone",
    sdp: "192.168.1.5:4000",
    seen: "8.8.8.8:61000",
    seen_at: Some("8.8.8.8"),
};
/// Behind a NAT, and its signaling comes from elsewhere.
const NATTED: Place = Place {
    name: "natted",
    sdp: "192.168.1.5:4000",
    seen: "8.8.8.8:61000",
    seen_at: Some("8.8.4.4"),
};
/// A gateway that sends from another host than it receives on.
const APART: Place = Place {
    name: "apart",
    sdp: "8.8.8.8:4000",
    seen: "8.8.8.9:4000",
    seen_at: Some("8.8.8.8"),
};
const PLACES: [Place; 5] = [PUBLIC, MAPPED, PHONE, NATTED, APART];

/// Who the stranger is.
#[derive(Clone, Copy)]
struct Stranger {
    name: &'static str,
    source: &'static str,
    /// It knows the peer's SSRC and sequence numbers, and is one packet ahead.
    knows: bool,
}

const STRANGERS: [Stranger; 4] = [
    Stranger {
        name: "other",
        source: "9.9.9.9:9",
        knows: false,
    },
    Stranger {
        name: "other+",
        source: "9.9.9.9:9",
        knows: true,
    },
    Stranger {
        name: "neighbour",
        source: "8.8.8.8:9",
        knows: false,
    },
    Stranger {
        name: "neighbour+",
        source: "8.8.8.8:9",
        knows: true,
    },
];

/// When the stranger sends, and whether the peer falls silent.
#[derive(Clone, Copy)]
struct Attack {
    /// When the peer begins to send.
    peer: u64,
    from: u64,
    until: u64,
    /// The peer sends nothing from 8 s to 16 s.
    mute: bool,
}

const fn from_to(from: u64, until: u64) -> Attack {
    Attack {
        peer: 2_000 * MS,
        from: from * MS,
        until: until * MS,
        mute: false,
    }
}

/// The columns of the tables below.
const ATTACKS: [(&str, Attack); 7] = [
    ("no sdp", from_to(0, 990)),
    ("before", from_to(0, 20_000)),
    ("burst", from_to(1_000, 1_500)),
    ("at", from_to(2_000, 20_000)),
    ("early", from_to(3_000, 20_000)),
    ("late", from_to(6_000, 20_000)),
    (
        "silence",
        Attack {
            mute: true,
            ..from_to(11_000, 20_000)
        },
    ),
];

/// What a stranger got.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Loot {
    /// Packets of the stranger that were handed on.
    injected: u64,
    /// For how long the node would send to the stranger.
    bled: u64,
    /// Packets of the peer that were refused after its first three.
    unheard: u64,
    /// The peer is not heard because of the stranger.
    is_denied: bool,
    /// The stranger has the stream at the end.
    keeps: bool,
}

impl Loot {
    /// A word for a cell of a table.
    fn name(self) -> &'static str {
        match (self.keeps, self.bled > 0, self.injected > 0) {
            (true, true, _) => "STOLEN",
            (true, false, _) => "SPOKEN",
            (false, true, _) => "bleed",
            (false, false, true) => "inject",
            (false, false, false) if self.is_denied => "denied",
            (false, false, false) => "-",
        }
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn call(policy: Policy, place: Place, stranger: Stranger, attack: Attack) -> Loot {
    let mut learner = Learner::default();
    learner.follow(Policy {
        seen_at: place.seen_at.map(|host| host.parse().unwrap()),
        ..policy
    });
    let (peer, mallory) = (at(place.seen), at(stranger.source));
    let mut loot = Loot::default();
    let (mut said, mut sent) = (0_u64, 0_u16);
    for now in (0..END).step_by(usize::try_from(STEP).unwrap()) {
        if now == SDP_AT {
            learner.signal(at(place.sdp));
        }
        let peer_sequence = |ahead: u64| u16::try_from((now / STEP + ahead) % 65_536).unwrap();
        // The stranger is always first.
        if (attack.from..attack.until).contains(&now) {
            let position = match stranger.knows {
                true => Position {
                    ssrc: SSRC,
                    sequence: peer_sequence(1),
                },
                false => Position {
                    ssrc: 666,
                    sequence: sent,
                },
            };
            sent += 1;
            let answer = learner.rtp(mallory, position, now);
            loot.injected += u64::from(matches!(answer, Answer::Accept | Answer::Learned));
            // Neither RTCP nor anything else does better than RTP.
            let other = learner.other(mallory);
            assert!(!other || learner.source() == Some(mallory));
        }
        let muted = attack.mute && (8_000 * MS..16_000 * MS).contains(&now);
        if now >= attack.peer && !muted {
            let position = Position {
                ssrc: SSRC,
                sequence: peer_sequence(0),
            };
            said += 1;
            let answer = learner.rtp(peer, position, now);
            let refused = !matches!(answer, Answer::Accept | Answer::Learned);
            loot.unheard += u64::from(refused && said > u64::from(EVIDENCE - 1));
        }
        if learner.destination() == Some(mallory) {
            loot.bled += STEP;
        }
    }
    loot.keeps = learner.source() == Some(mallory);
    loot
}

fn policy(sources: SourcePolicy, handover: bool) -> Policy {
    Policy {
        sources,
        handover,
        seen_at: None,
        waits: false,
    }
}

/// What each stranger gets from each peer by each attack, as a table.
fn table(policy: Policy) -> String {
    let mut text = format!("{:<8}{:<12}", "peer", "stranger");
    for (name, _) in ATTACKS {
        text += &format!("{name:<9}");
    }
    text = text.trim_end().to_owned() + "\n";
    for place in PLACES {
        for stranger in STRANGERS {
            let mut line = format!("{:<8}{:<12}", place.name, stranger.name);
            for (_, attack) in ATTACKS {
                let mut loot = call(policy, place, stranger, attack);
                let alone = Attack {
                    from: END,
                    ..attack
                };
                loot.is_denied = loot.unheard > call(policy, place, stranger, alone).unheard;
                line += &format!("{:<9}", loot.name());
            }
            text += line.trim_end();
            text += "\n";
        }
    }
    text
}

/// How long after the SDP a stranger has to have begun to get anything, and for how long it gets it at
/// most, while the peer first sends `delay` ms after the SDP.
fn window(policy: Policy, place: Place, stranger: Stranger, delay: u64) -> String {
    let got = |after: u64| {
        let attack = Attack {
            peer: SDP_AT + delay * MS,
            from: SDP_AT + after * MS,
            until: END,
            mute: false,
        };
        call(policy, place, stranger, attack).injected * 20
    };
    // Who begins later gets no more.
    let starts: Vec<u64> = (0..10_000).step_by(20).collect();
    let open = starts.partition_point(|after| got(*after) > 0);
    let longest = starts[..open].iter().step_by(25).map(|after| got(*after));
    let (closes, longest) = (open * 20, longest.max().unwrap_or(0));
    match closes {
        0 => "-".to_owned(),
        10_000 => "always".to_owned(),
        closes if longest > 15_000 => format!("{closes}: kept"),
        closes => format!("{closes}: {longest}"),
    }
}

fn windows(policy: Policy) -> String {
    let mut text = format!("{:<8}{:<12}", "peer", "stranger");
    for delay in DELAYS {
        text += &format!("{:<14}", format!("{delay} ms"));
    }
    text = text.trim_end().to_owned() + "\n";
    for place in PLACES {
        for stranger in STRANGERS.into_iter().filter(|stranger| !stranger.knows) {
            let mut line = format!("{:<8}{:<12}", place.name, stranger.name);
            for delay in DELAYS {
                line += &format!("{:<14}", window(policy, place, stranger, delay));
            }
            text += line.trim_end();
            text += "\n";
        }
    }
    text
}

/// When the peer sends first, in milliseconds after the SDP.
const DELAYS: [u64; 3] = [100, 1_000, 5_000];

#[test]
fn what_strangers_get_is_known() {
    let mut text = String::new();
    for sources in SourcePolicy::ALL {
        let (with, without) = (table(policy(sources, true)), table(policy(sources, false)));
        text += &format!("# {}\n\n{with}\n", sources.name());
        if without != with {
            text += &format!("# {}, no handover\n\n{without}\n", sources.name());
        }
    }
    for sources in SourcePolicy::ALL {
        text += &format!(
            "# {}: the window in ms after the SDP, and how long what is got lasts\n\n",
            sources.name()
        );
        text += &windows(policy(sources, true));
        text += "\n";
    }
    println!("{text}");
    let known = include_str!("hostile.txt");
    assert!(
        text.trim_end() == known.trim_end(),
        "another than in hostile.txt"
    );
}

/// The promises, whatever the tables say.
#[test]
fn nobody_gets_anything_by_strict_and_nobody_bleeds_by_off() {
    for handover in [true, false] {
        for place in PLACES {
            for stranger in STRANGERS {
                for (name, attack) in ATTACKS {
                    let strict = policy(SourcePolicy::Strict, handover);
                    let loot = call(strict, place, stranger, attack);
                    assert_eq!((loot.injected, loot.bled), (0, 0), "{name}");
                    let off = policy(SourcePolicy::Off, handover);
                    assert_eq!(call(off, place, stranger, attack).bled, 0, "{name}");
                }
            }
        }
    }
}

/// A peer that its address or its signaling speaks for is never without its voice for longer than it takes to show
/// itself, whatever others send before, at or after its first packet.
#[test]
fn a_peer_that_is_where_it_said_is_always_heard() {
    let heuristic = Policy::default();
    for place in [PUBLIC, PHONE] {
        for stranger in STRANGERS
            .into_iter()
            .filter(|stranger| stranger.name.starts_with("other"))
        {
            for (name, attack) in ATTACKS {
                let loot = call(heuristic, place, stranger, attack);
                assert_eq!(
                    (loot.unheard, loot.keeps),
                    (0, false),
                    "{} {name}",
                    stranger.name
                );
            }
        }
    }
}
