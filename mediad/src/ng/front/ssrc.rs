//! Synchronisation sources, in rtpengine's words.

use control::media::FlowStats;
use ng::{Dictionary, Value, dictionary};

use super::query::Known;

/// What came from a synchronisation source.
struct Heard {
    ssrc: u32,
    packets: u64,
    bytes: u64,
    lost: u64,
    duplicates: u64,
    reordered: u64,
    jitter_us: u32,
    highest_sequence: u32,
    mos: Option<f32>,
    rtt_us: Option<u32>,
}

/// Those of a flow, the present one last.
fn heard(flow: &FlowStats) -> Vec<Heard> {
    let all = flow.sources.iter().map(|source| Heard {
        ssrc: source.ssrc,
        packets: source.packets,
        bytes: source.bytes,
        lost: source.lost,
        duplicates: source.duplicates,
        reordered: source.reordered,
        jitter_us: source.jitter_us,
        highest_sequence: source.highest_sequence,
        mos: source.mos,
        // Of the party, whatever it sends with.
        rtt_us: flow.rtt_us.filter(|_| flow.ssrc == Some(source.ssrc)),
    });
    all.collect()
}

/// What came from each synchronisation source.
pub(super) fn sources(known: &Known) -> Dictionary {
    let flows = known
        .values()
        .flat_map(|stats| [&stats.from_a, &stats.from_b]);
    let told = flows.flat_map(heard).map(|heard| {
        let mut source = dictionary([
            ("packets", Value::from_number(heard.packets)),
            ("bytes", Value::from_number(heard.bytes)),
            ("cumulative loss", Value::from_number(heard.lost)),
            ("duplicates", Value::from_number(heard.duplicates)),
            ("reordered", Value::from_number(heard.reordered)),
        ]);
        if let Some(mos) = heard.mos {
            let expected = heard.packets.saturating_add(heard.lost).max(1);
            let mut average = dictionary([
                ("MOS", tenths(mos)),
                ("jitter", Value::from_number(heard.jitter_us / 1000)),
                (
                    "packet loss",
                    Value::from_number(heard.lost.saturating_mul(100) / expected),
                ),
                ("samples", Value::Integer(1)),
            ]);
            if let Some(us) = heard.rtt_us {
                average.insert(b"round-trip time".to_vec(), Value::from_number(us));
            }
            source.insert(b"average MOS".to_vec(), Value::Dictionary(average));
        }
        let name = heard.ssrc.to_string().into_bytes();
        (name, Value::Dictionary(source))
    });
    told.collect()
}

/// The synchronisation sources of a stream, as they came or as they are sent on.
pub(super) fn ssrcs(flow: Option<&FlowStats>, is_sent: bool) -> Value {
    let Some(flow) = flow else {
        return Value::List(Vec::new());
    };
    let all = heard(flow);
    let is_single = all.len() == 1;
    let told = all.into_iter().map(|heard| {
        // How many of each were sent on is not known where there were several.
        let packets = match is_sent && is_single {
            true => flow.forwarded,
            false => heard.packets,
        };
        Value::Dictionary(dictionary([
            ("SSRC", Value::from_number(heard.ssrc)),
            ("packets", Value::from_number(packets)),
            ("bytes", Value::from_number(heard.bytes)),
            (
                "last RTP seq",
                Value::from_number(heard.highest_sequence & 0xffff),
            ),
        ]))
    });
    Value::List(told.collect())
}

/// A score in tenths, as rtpengine's: bencode has no fractions.
pub(super) fn tenths(mos: f32) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "10 to 45")]
    let tenths = (mos * 10.0).round() as i64;
    Value::Integer(tenths)
}
