//! Messages in a stream, however it is cut: the same are found, and each is whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ng::frame::{Frame, Framer};

/// The messages, and whether the stream made sense to its end.
fn frames(data: &[u8], chunk: usize) -> (Vec<Frame>, bool) {
    let mut stream = Framer::default();
    let mut found = Vec::new();
    for bytes in data.chunks(chunk) {
        stream.push(bytes);
        loop {
            match stream.next_frame() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(_) => return (found, false),
            }
        }
    }
    (found, true)
}

fuzz_target!(|data: &[u8]| {
    let whole = frames(data, data.len().max(1));
    for chunk in [1, 7] {
        assert_eq!(frames(data, chunk), whole);
    }
    for frame in whole.0 {
        assert!(!frame.cookie.is_empty());
        drop(ng::Encoding::of(&frame.body).decode(&frame.body));
    }
});
