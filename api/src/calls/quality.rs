//! How calls sound, as clients see it.

use std::sync::Arc;

use axum::{Json, extract};
use control::{
    FaultCode,
    channel::RequestError,
    media::{self, FlowSample, FlowStats, OtherSources, SessionStats, SourceStats},
    signal::{self, QualitySample, Request, Response},
};
use serde::Serialize;
use store::Timestamp;
use utoipa::ToSchema;

use super::find;
use crate::{State, access::Caller, asked::unexpected, problem::Problem};

/// How a call sounds now.
#[derive(Serialize, ToSchema)]
pub(crate) struct Quality {
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// One for each stream of media that the node relays.
    sessions: Vec<SessionQuality>,
    /// How its first stream, as a rule the audio, has sounded since the call was answered: every 10 seconds, and less
    /// often as it grows long, so that there are 60 at most.
    samples: Vec<Sample>,
}

/// How a call sounded at a moment of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sample {
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    caller: FlowSampleView,
    callee: FlowSampleView,
}

/// What a party had sent by then.
#[derive(Serialize, ToSchema)]
#[schema(as = FlowSample)]
pub(crate) struct FlowSampleView {
    packets: u64,
    /// Lost before this node.
    lost: u64,
    /// Interarrival jitter at that moment.
    jitter_ms: f64,
    /// The lowest estimated mean opinion score of the time since the sample before, which is 10 seconds' or that of some
    /// times 10 seconds; `null` where hardly anything came.
    mos: Option<f32>,
}

impl From<QualitySample> for Sample {
    fn from(sample: QualitySample) -> Self {
        Self {
            time: Timestamp::from_millis(sample.at_ms),
            caller: sample.caller.into(),
            callee: sample.callee.into(),
        }
    }
}

impl From<FlowSample> for FlowSampleView {
    fn from(flow: FlowSample) -> Self {
        Self {
            packets: flow.packets,
            lost: flow.lost,
            jitter_ms: f64::from(flow.jitter_us) / 1000.0,
            mos: flow.mos,
        }
    }
}

/// What a session has carried so far.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionQuality {
    id: String,
    /// `xdp`, `xdp-generic`, `io-uring` or `sockets`.
    datapath: String,
    /// Milliseconds since anything came.
    silent_ms: u64,
    caller: FlowQuality,
    callee: FlowQuality,
}

/// What a party has sent so far, as the node received it.
#[derive(Serialize, ToSchema)]
pub(crate) struct FlowQuality {
    /// Where it comes from; `null` before anything came.
    source: Option<String>,
    packets: u64,
    /// Of these, forwarded by XDP.
    packets_xdp: u64,
    bytes: u64,
    /// Lost before this node.
    lost: u64,
    /// Came again.
    duplicates: u64,
    /// Came after a later one.
    reordered: u64,
    /// Came too late for a jitter buffer of 60 ms to play them.
    late: u64,
    /// How much longer the runs of lost packets are than loss by chance would make them (G.107's BurstR): 1 and more.
    burst_ratio: f32,
    /// The longest time between two packets, pauses in which the party had nothing to say among them.
    longest_gap_ms: u32,
    /// Interarrival jitter (RFC 3550 section 6.4.1).
    jitter_ms: f64,
    /// The synchronisation source of the last packet; `null` before one came.
    ssrc: Option<u32>,
    /// Estimated mean opinion score (G.107) by the codec, loss and its bursts, what a jitter buffer would not have waited
    /// for, and jitter; `null` before enough packets came.
    mos: Option<f32>,
    /// From this node to the party and back, by the RTCP that it relays; `null` before a report was answered.
    rtt_ms: Option<f64>,
    /// Its synchronisation sources, each with its own figures: the last 8 that have ended, and the present one, last.
    sources: Vec<SourceQuality>,
    /// Those before them, together; `null` where there are none.
    other_sources: Option<OtherQuality>,
}

/// What one synchronisation source has sent.
#[derive(Serialize, ToSchema)]
pub(crate) struct SourceQuality {
    ssrc: u32,
    packets: u64,
    bytes: u64,
    lost: u64,
    duplicates: u64,
    reordered: u64,
    late: u64,
    burst_ratio: f32,
    longest_gap_ms: u32,
    jitter_ms: f64,
    /// The highest sequence number, extended to 32 bits.
    highest_sequence: u32,
    /// Milliseconds since its first packet.
    first_seen_ms: u64,
    /// Milliseconds since its last packet.
    last_seen_ms: u64,
    mos: Option<f32>,
}

/// What synchronisation sources have sent that are not told apart any more.
#[derive(Serialize, ToSchema)]
pub(crate) struct OtherQuality {
    /// How many; one that came back between others counts each time.
    count: u32,
    packets: u64,
    bytes: u64,
    lost: u64,
}

/// How a call has sounded since the last event of this kind.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CallQuality {
    /// As in `/v1/calls`.
    call_id: String,
    /// Whose call it is; `null`: the node's.
    pub(crate) tenant: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// `xdp`, `xdp-generic`, `io-uring` or `sockets`.
    datapath: &'static str,
    caller: FlowReport,
    callee: FlowReport,
}

/// What a party has sent.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct FlowReport {
    /// In all.
    packets: u64,
    /// Lost before this node, in all.
    lost: u64,
    /// Since the last event of this kind.
    new_packets: u64,
    new_lost: u64,
    /// Interarrival jitter now.
    jitter_ms: f64,
    /// Estimated mean opinion score of what is new; `null` where that is less than a second of speech.
    mos: Option<f32>,
    /// To the party and back; `null` where no RTCP told of it.
    rtt_ms: Option<f64>,
}

impl From<signal::CallQuality> for CallQuality {
    fn from(call: signal::CallQuality) -> Self {
        Self {
            call_id: call.id,
            tenant: call.tenant,
            time: Timestamp::from_millis(call.at_ms),
            datapath: call.path.name(),
            caller: call.caller.into(),
            callee: call.callee.into(),
        }
    }
}

impl From<signal::FlowReport> for FlowReport {
    fn from(flow: signal::FlowReport) -> Self {
        Self {
            packets: flow.now.packets,
            lost: flow.now.lost,
            new_packets: flow.new_packets,
            new_lost: flow.new_lost,
            jitter_ms: f64::from(flow.now.jitter_us) / 1000.0,
            mos: flow.now.mos,
            rtt_ms: flow.now.rtt_us.map(|us| f64::from(us) / 1000.0),
        }
    }
}

impl From<SourceStats> for SourceQuality {
    fn from(source: SourceStats) -> Self {
        Self {
            ssrc: source.ssrc,
            packets: source.packets,
            bytes: source.bytes,
            lost: source.lost,
            duplicates: source.duplicates,
            reordered: source.reordered,
            late: source.late,
            burst_ratio: source.burst_ratio,
            longest_gap_ms: source.longest_gap_ms,
            jitter_ms: f64::from(source.jitter_us) / 1000.0,
            highest_sequence: source.highest_sequence,
            first_seen_ms: source.first_seen_ms,
            last_seen_ms: source.last_seen_ms,
            mos: source.mos,
        }
    }
}

impl From<OtherSources> for OtherQuality {
    fn from(others: OtherSources) -> Self {
        Self {
            count: others.count,
            packets: others.packets,
            bytes: others.bytes,
            lost: others.lost,
        }
    }
}

impl From<SessionStats> for SessionQuality {
    fn from(stats: SessionStats) -> Self {
        Self {
            id: stats.id.to_string(),
            datapath: stats.path.name().to_owned(),
            silent_ms: stats.silent_ms,
            caller: stats.from_a.into(),
            callee: stats.from_b.into(),
        }
    }
}

impl From<FlowStats> for FlowQuality {
    fn from(flow: FlowStats) -> Self {
        Self {
            source: flow.source.map(|source| source.to_string()),
            packets: flow.packets,
            packets_xdp: flow.packets_xdp,
            bytes: flow.bytes,
            lost: flow.lost,
            duplicates: flow.duplicates,
            reordered: flow.reordered,
            late: flow.late,
            burst_ratio: flow.burst_ratio,
            longest_gap_ms: flow.longest_gap_ms,
            jitter_ms: f64::from(flow.jitter_us) / 1000.0,
            ssrc: flow.ssrc,
            mos: flow.mos,
            rtt_ms: flow.rtt_us.map(|us| f64::from(us) / 1000.0),
            sources: flow.sources.into_iter().map(SourceQuality::from).collect(),
            other_sources: (flow.other_sources.count != 0).then(|| flow.other_sources.into()),
        }
    }
}

/// How a call sounds: what each party has sent so far, counted where its packets pass, and how that was over time, from the
/// answer on. When it is over, its record has what it was in the end.
#[utoipa::path(get, path = "/calls/{id}/quality", tag = "calls", params(("id" = Uuid, Path)),
    security(("bearer" = ["viewer"])), responses(
        (status = 200, body = Quality),
        (status = 404, description = "No call of this id is up")))]
pub(super) async fn quality(
    extract::State(state): extract::State<Arc<State>>,
    extract::Path(id): extract::Path<String>,
    caller: Caller,
) -> Result<Json<Quality>, Problem> {
    let call = find(&state, &caller, &id).await?;
    let samples = match state.ask(Request::Quality { id: call.id }).await? {
        Response::Quality(samples) => samples.into_iter().map(Sample::from).collect(),
        other => return Err(unexpected(&other)),
    };
    let mut sessions = Vec::new();
    for session in call.media {
        match state.media.request(media::Request::Query(session)).await {
            Ok(media::Response::Stats(stats)) => sessions.push((*stats).into()),
            Ok(other) => {
                return Err(Problem::internal(&format!("mediad answered {other:?}")));
            }
            // It ended just now, or mediad is a new one that has not been told of it yet.
            Err(RequestError::Fault(fault)) if fault.code == FaultCode::NotFound => {}
            Err(error) => return Err(Problem::unavailable("mediad", &error)),
        }
    }
    Ok(Json(Quality {
        time: Timestamp::now(),
        sessions,
        samples,
    }))
}
