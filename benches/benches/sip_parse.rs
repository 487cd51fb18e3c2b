//! What SIP's message layer costs on an INVITE of 850 bytes: the index alone, the typed headers that a
//! proxy reads, a forwarding edit, an answer, and the SDP's rewriting.
//!
//! `cargo bench -p benches --bench sip_parse`

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sip::{
    header::HeaderName,
    message::Message,
    sdp::{Relay, Sdp},
    stream::Framer,
};

const INVITE: &[u8] = include_bytes!("../../sip/tests/invite.sip");

fn parse() -> Message {
    Message::parse(Bytes::from_static(INVITE)).expect("the INVITE is valid")
}

/// What a stateful proxy reads before it forwards.
fn typed(message: &Message) -> usize {
    let via = message.via().expect("Via");
    let from = message.from().expect("From");
    let to = message.to().expect("To");
    let contact = message
        .contacts()
        .next()
        .expect("Contact")
        .expect("Contact");
    let uri = message.request_uri().expect("Request-URI");
    let cseq = message.cseq().expect("CSeq");
    via.branch().map_or(0, str::len)
        + from.tag().map_or(0, str::len)
        + to.uri_str().len()
        + contact.uri_str().len()
        + uri.user().map_or(0, str::len)
        + cseq.number as usize
        + message.call_id().expect("Call-ID").len()
}

fn sip_parse(criterion: &mut Criterion) {
    let message = parse();
    message.validate().expect("the INVITE is valid");
    let mut group = criterion.benchmark_group("sip");
    group.throughput(Throughput::Bytes(INVITE.len() as u64));
    group.bench_function("index", |b| b.iter(|| black_box(parse())));
    group.bench_function("index+typed", |b| b.iter(|| black_box(typed(&parse()))));
    group.bench_function("validate", |b| {
        b.iter(|| black_box(message.validate().is_ok()));
    });
    group.bench_function("forward", |b| {
        b.iter(|| {
            let edit = message
                .edit()
                .push_top(HeaderName::RecordRoute, "<sip:192.0.2.1;lr>")
                .push_top(
                    HeaderName::Via,
                    "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1",
                )
                .replace(HeaderName::MaxForwards, "68");
            black_box(edit.finish().expect("forwardable"))
        });
    });
    group.bench_function("answer", |b| {
        b.iter(|| {
            black_box(
                message
                    .respond(180)
                    .to_tag("a1b2")
                    .build()
                    .expect("answerable"),
            )
        });
    });
    let relay = Relay {
        address: [192, 0, 2, 1].into(),
        rtp: 20_000,
        rtcp: 20_001,
    };
    group.bench_function("sdp", |b| {
        b.iter(|| {
            let sdp = Sdp::parse(message.body()).expect("SDP");
            black_box(sdp.rewrite(&[Some(relay)]).expect("relayed"))
        });
    });
    group.bench_function("stream", |b| {
        let mut framer = Framer::default();
        b.iter(|| {
            framer.push(INVITE);
            black_box(framer.poll().expect("framed").expect("a frame"))
        });
    });
    group.finish();
}

criterion_group!(benches, sip_parse);
criterion_main!(benches);
