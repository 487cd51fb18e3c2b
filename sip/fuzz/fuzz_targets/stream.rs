//! A stream cut at any place yields the same messages as the stream in one piece.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip::stream::{Frame, Framer};

fn frames(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, usize, bool) {
    let mut framer = Framer::default();
    let (mut messages, mut malformed) = (Vec::new(), 0);
    for chunk in chunks {
        framer.push(chunk);
        loop {
            match framer.poll() {
                Ok(Some(Frame::Message(message))) => messages.push(message.into_bytes().to_vec()),
                Ok(Some(Frame::Malformed(_))) => malformed += 1,
                Ok(Some(Frame::Ping)) => {}
                Ok(None) => break,
                Err(_) => return (messages, malformed, true),
            }
        }
    }
    (messages, malformed, false)
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    let cut = usize::from(*cut).min(stream.len());
    let whole = frames(&[stream]);
    let halves = frames(&[&stream[..cut], &stream[cut..]]);
    assert_eq!(whole.0, halves.0);
    assert_eq!(whole.1, halves.1);
});
