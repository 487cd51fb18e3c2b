use proptest::prelude::*;

use super::*;

const BYE: &[u8] = b"BYE sip:a SIP/2.0\r\nCall-ID: 1\r\nContent-Length: 4\r\n\r\n\r\n\r\n";

fn push(bytes: &[u8]) -> Framer {
    let mut framer = Framer::default();
    framer.push(bytes);
    framer
}

fn error(bytes: &[u8]) -> StreamError {
    let mut framer = push(bytes);
    let error = framer.poll().unwrap_err();
    framer.push(BYE);
    assert!(
        framer.poll().unwrap().is_none(),
        "a failed stream yields no message"
    );
    error
}

#[test]
fn messages_and_keepalives_byte_by_byte() {
    let stream = [b"\r\n", BYE, b"\r\n\r\n", BYE, b"\r\n", BYE].concat();
    let mut framer = Framer::default();
    let mut seen = String::new();
    for byte in stream {
        framer.push(&[byte]);
        while let Some(frame) = framer.poll().unwrap() {
            seen.push(match frame {
                Frame::Message(message) => {
                    assert_eq!(&message.as_bytes()[..], BYE);
                    'm'
                }
                Frame::Ping => 'p',
                Frame::Malformed(_) => 'x',
            });
        }
    }
    assert_eq!(seen, "mpmm");
    assert_eq!(framer.pending(), 0);
}

#[test]
fn a_malformed_message_with_known_borders_does_not_end_the_stream() {
    let bad = b"BYE sip:a SIP/2.0\r\nno colon\r\nContent-Length: 2\r\n\r\nxx";
    let mut framer = push(&[&bad[..], BYE].concat());
    let Some(Frame::Malformed(error)) = framer.poll().unwrap() else {
        panic!("not malformed")
    };
    assert_eq!(error.status(), Some(400));
    assert!(matches!(framer.poll(), Ok(Some(Frame::Message(_)))));
}

#[test]
fn lost_borders_end_the_stream() {
    let start = "BYE sip:a SIP/2.0\r\n";
    let with = |headers: &str| error(format!("{start}{headers}\r\n").as_bytes());
    assert!(matches!(
        with("Via: x\r\n"),
        StreamError::NoContentLength(_)
    ));
    assert_eq!(with("Via: x\r\n").status(), Some(400));
    assert!(
        with("Via: x\r\n")
            .partial()
            .unwrap()
            .header("Via")
            .is_some()
    );
    assert!(matches!(with("l: 1\r\nl: 2\r\n"), StreamError::Head(_)));
    assert!(matches!(with("l: -1\r\n"), StreamError::Head(_)));
    assert!(matches!(
        with("A: b\nl: 5\r\nl: 0\r\n"),
        StreamError::Head(_)
    ));
    assert!(matches!(
        with("no colon\r\nl: 1\r\nl: 2\r\n"),
        StreamError::Head(_)
    ));
    assert!(matches!(with("l: 70000\r\n"), StreamError::TooLarge(_)));
    assert_eq!(with("l: 70000\r\n").status(), Some(513));
    assert_eq!(with("l: 18446744073709551615\r\n").status(), Some(513));
    assert_eq!(error(b"GET / HTTP/1.1\r\nHost: x\r\n").status(), None);
    assert!(matches!(error(&[b'a'; 9000]), StreamError::Head(_)));
    let endless = [start.as_bytes(), &b"A: b\r\n".repeat(20_000)].concat();
    assert!(matches!(error(&endless), StreamError::TooLarge(_)));
    let many = format!("Via: x\r\n{}l: 0\r\n", "A: b\r\n".repeat(300));
    assert!(matches!(with(&many), StreamError::Head(_)));
    assert_eq!(with(&many).status(), Some(513));
}

#[test]
fn the_start_line_may_come_in_pieces_and_in_any_case() {
    let mut framer = push(b"BYE sip:a SiP/2.0\r\n");
    assert!(framer.poll().unwrap().is_none());
    framer.push(b"l: 0\r\n\r\n");
    assert!(matches!(framer.poll(), Ok(Some(Frame::Message(_)))));
}

#[test]
fn a_folded_line_is_no_content_length() {
    let raw = b"BYE sip:a SIP/2.0\r\nA: b\r\n l: 9\r\nl: 2\r\n\r\nxx";
    assert!(matches!(push(raw).poll(), Ok(Some(Frame::Message(_)))));
}

proptest! {
    #[test]
    fn chunks_do_not_matter(sizes in prop::collection::vec(1usize..90, 1..40)) {
        let stream = [BYE, b"\r\n\r\n", BYE, BYE, b"\r\n"].concat();
        let mut framer = Framer::default();
        let (mut at, mut messages, mut pings) = (0, 0, 0);
        let mut sizes = sizes.iter().cycle();
        while at < stream.len() {
            let end = (at + sizes.next().unwrap()).min(stream.len());
            framer.push(&stream[at..end]);
            at = end;
            while let Some(frame) = framer.poll().unwrap() {
                match frame {
                    Frame::Message(_) => messages += 1,
                    Frame::Ping => pings += 1,
                    Frame::Malformed(error) => panic!("{error}"),
                }
            }
        }
        prop_assert_eq!((messages, pings), (3, 1));
    }

    #[test]
    fn arbitrary_bytes_never_panic(chunks: Vec<Vec<u8>>) {
        let mut framer = Framer::default();
        for chunk in chunks {
            framer.push(&chunk);
            while let Ok(Some(_)) = framer.poll() {}
        }
    }
}
