//! An INVITE of 849 bytes with SDP through four parsers: the index alone, and with the six headers that
//! a proxy reads typed (Via, From, To, CSeq, Call-ID, Contact). Each is used as its documentation says.
//!
//! `cargo bench --manifest-path sip/peers/Cargo.toml --features bench`

use std::hint::black_box;

use allocation_counter::measure;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const INVITE: &[u8] = include_bytes!("../../tests/invite.sip");

fn tandem() -> sip::message::Message {
    sip::message::Message::parse(Bytes::from_static(INVITE)).expect("a message")
}

fn tandem_typed() -> usize {
    let message = tandem();
    let via = message.via().expect("Via");
    let from = message.from().expect("From");
    let to = message.to().expect("To");
    let cseq = message.cseq().expect("CSeq");
    let contact = message.contacts().next().expect("Contact");
    let contact = contact.expect("Contact");
    // The peers' addresses hold parsed URIs, and their message a parsed Request-URI.
    let uris = (from.uri(), to.uri(), contact.uri(), message.request_uri());
    black_box((&via, &cseq, &uris));
    message.call_id().expect("Call-ID").len()
}

fn rsip() -> rsip::SipMessage {
    rsip::SipMessage::try_from(INVITE).expect("a message")
}

fn rsip_typed() -> usize {
    use rsip::{
        headers::{ToTypedHeader as _, UntypedHeader as _},
        message::HeadersExt as _,
    };
    let message = rsip();
    let read = (
        message.via_header().expect("Via").typed().expect("Via"),
        message.from_header().expect("From").typed().expect("From"),
        message.to_header().expect("To").typed().expect("To"),
        message.cseq_header().expect("CSeq").typed().expect("CSeq"),
        message
            .contact_header()
            .expect("Contact")
            .typed()
            .expect("Contact"),
    );
    black_box(&read);
    message.call_id_header().expect("Call-ID").value().len()
}

fn rsipstack() -> rsipstack::sip::SipMessage {
    rsipstack::sip::parser::parse_message(INVITE).expect("a message")
}

fn rsipstack_typed() -> usize {
    use rsipstack::sip::prelude::*;
    let message = rsipstack();
    let read = (
        message.via_header().expect("Via").typed().expect("Via"),
        message.from_header().expect("From").typed().expect("From"),
        message.to_header().expect("To").typed().expect("To"),
        message.cseq_header().expect("CSeq").typed().expect("CSeq"),
        message
            .contact_header()
            .expect("Contact")
            .typed()
            .expect("Contact"),
    );
    black_box(&read);
    message.call_id_header().expect("Call-ID").value().len()
}

fn sipx() -> sipx_sip::Message {
    let raw = Bytes::from_static(INVITE);
    sipx_sip::parse_datagram(raw, &sipx_sip::Limits::datagram()).expect("a message")
}

fn sipx_typed() -> usize {
    use sipx_sip::headers::{CSeq, CallId, Contact, From, To, Via};
    let message = sipx();
    let headers = message.headers();
    let read = (
        headers.typed::<Via>().expect("Via").expect("Via"),
        headers.typed::<From>().expect("From").expect("From"),
        headers.typed::<To>().expect("To").expect("To"),
        headers.typed::<CSeq>().expect("CSeq").expect("CSeq"),
        headers
            .typed::<Contact>()
            .expect("Contact")
            .expect("Contact"),
        headers
            .typed::<CallId>()
            .expect("Call-ID")
            .expect("Call-ID"),
    );
    black_box(&read);
    read.5.0.len()
}

/// How often a parser asks the allocator.
fn allocations<T>(work: impl Fn() -> T) -> u64 {
    measure(|| drop(black_box(work()))).count_total
}

fn parse(criterion: &mut Criterion) {
    for (name, index, typed) in [
        ("tandem", allocations(tandem), allocations(tandem_typed)),
        ("rsip", allocations(rsip), allocations(rsip_typed)),
        (
            "rsipstack",
            allocations(rsipstack),
            allocations(rsipstack_typed),
        ),
        ("sipx-sip", allocations(sipx), allocations(sipx_typed)),
    ] {
        println!("{name}: {index} allocations for the index, {typed} with six headers typed");
    }
    let bytes = Throughput::Bytes(INVITE.len() as u64);
    let mut group = criterion.benchmark_group("index");
    group.throughput(bytes.clone());
    group.bench_function("tandem", |b| b.iter(|| black_box(tandem())));
    group.bench_function("rsip", |b| b.iter(|| black_box(rsip())));
    group.bench_function("rsipstack", |b| b.iter(|| black_box(rsipstack())));
    group.bench_function("sipx-sip", |b| b.iter(|| black_box(sipx())));
    group.finish();
    let mut group = criterion.benchmark_group("index+typed");
    group.throughput(bytes);
    group.bench_function("tandem", |b| b.iter(|| black_box(tandem_typed())));
    group.bench_function("rsip", |b| b.iter(|| black_box(rsip_typed())));
    group.bench_function("rsipstack", |b| b.iter(|| black_box(rsipstack_typed())));
    group.bench_function("sipx-sip", |b| b.iter(|| black_box(sipx_typed())));
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
