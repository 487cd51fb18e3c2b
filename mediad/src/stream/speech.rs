//! An endpoint that understands speech: it hears a party as a stream's server does, and says what was said.
//!
//! The audio and its messages are those of Media Streams, in L16. What comes back is `{"event":"speech","type":…}`:
//! `speaking`, `partial` with `stable` and `unstable`, and at last `final` with `text` and `confidence`, or `failed`
//! with a `reason`. After the last one the connection is closed.

use std::pin::pin;
use std::time::Duration;

use control::media::{Heard, StreamTrouble, VoiceEvent};
use futures_util::StreamExt as _;
use futures_util::stream::SplitStream;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tracing::debug;

use super::connect::{Socket, connect};
use super::message::short;
use super::port::Line;
use super::task::{CLOSE, Mode, Teller};
use super::{Listening, Report, Settings};

/// Characters of what was understood that are told of at most.
pub(super) const LONGEST: usize = 4_096;
/// Who takes no audio any more may have said so much before.
const LAST: Duration = Duration::from_millis(200);

/// Listens until the utterance is over, or nobody wants it any more.
pub(super) async fn run(listening: Listening, settings: Settings, line: Line, report: Report) {
    let Listening {
        stream, partials, ..
    } = listening;
    let job = stream.job;
    let tell = |heard| report(VoiceEvent::Heard { job, heard });
    let socket = tokio::select! {
        socket = connect(&stream, &settings) => socket,
        () = line.gone() => return,
    };
    let socket = match socket {
        Ok(socket) => socket,
        Err(trouble) => {
            drop(line);
            return tell(Heard::Failed(why(trouble)));
        }
    };
    let (sink, source) = socket.split();
    let (_echo, echoes) = mpsc::channel(1);
    let mode = Mode::of(&stream, &report);
    let mut teller = Teller::new(&stream, mode, &line, sink, echoes);
    let mut ear = Ear {
        source,
        partials,
        has_spoken: false,
        tell: &tell,
    };
    let last = {
        let mut hearing = pin!(ear.run());
        let telling = pin!(async {
            teller.begin().await?;
            teller.run().await
        });
        tokio::select! {
            biased;
            last = &mut hearing => Some(last),
            told = telling => {
                let why = told.err().map(|error| error.to_string());
                let failed = Heard::Failed(why.unwrap_or_else(|| "it takes no audio".to_owned()));
                // It may have said the last of it before it closed.
                Some(timeout(LAST, hearing).await.unwrap_or(failed))
            }
            () = line.gone() => None,
        }
    };
    let _ = timeout(CLOSE, teller.stop()).await;
    drop(teller);
    // The port hears nothing more before somebody else learns of the end.
    drop(line);
    if let Some(last) = last {
        tell(last);
    }
}

/// Hears what the endpoint says.
struct Ear<'a> {
    source: SplitStream<Socket>,
    partials: bool,
    has_spoken: bool,
    tell: &'a (dyn Fn(Heard) + Send + Sync),
}

impl Ear<'_> {
    /// The last of it.
    async fn run(&mut self) -> Heard {
        loop {
            let text = match self.source.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(_))) | None => {
                    return Heard::Failed("its endpoint closed before it was done".to_owned());
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Heard::Failed(format!("its endpoint broke: {error}")),
            };
            match read(&text) {
                Ok(Some(heard @ (Heard::Final { .. } | Heard::Failed(_)))) => return heard,
                Ok(Some(heard)) => self.speaking(heard),
                Ok(None) => {}
                Err(error) => {
                    debug!(error, message = %short(&text), "an endpoint of speech says what is no message");
                }
            }
        }
    }

    /// That somebody speaks is told once, and the rest where it is wanted.
    fn speaking(&mut self, heard: Heard) {
        if !std::mem::replace(&mut self.has_spoken, true) {
            (self.tell)(Heard::Speaking);
        }
        if self.partials && matches!(heard, Heard::Partial { .. }) {
            (self.tell)(heard);
        }
    }
}

/// Reads a message; `None` is one of another event, which is nobody's mistake.
fn read(text: &str) -> Result<Option<Heard>, String> {
    let said: Said = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if said.event != "speech" {
        return Ok(None);
    }
    let cut = |text: Option<String>| -> String {
        text.unwrap_or_default().chars().take(LONGEST).collect()
    };
    Ok(Some(match said.kind.as_str() {
        "speaking" => Heard::Speaking,
        "partial" => Heard::Partial {
            stable: cut(said.stable),
            unstable: cut(said.unstable.or(said.text)),
        },
        "final" => Heard::Final {
            text: cut(said.text),
            confidence: thousandths(said.confidence),
        },
        "failed" => Heard::Failed(cut(said.reason)),
        other => {
            let other = short(other);
            return Err(format!(
                "type {other}: there are speaking, partial, final and failed"
            ));
        }
    }))
}

/// Who does not say how sure he is, is.
pub(super) fn thousandths(confidence: Option<f64>) -> u16 {
    let sure = confidence.unwrap_or(1.0).clamp(0.0, 1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 1000; what is no number is 0"
    )]
    let thousandths = (sure * 1_000.0).round() as u16;
    thousandths
}

fn why(trouble: StreamTrouble) -> String {
    match trouble {
        StreamTrouble::Timeout => "its endpoint cannot be reached: see [voice] hearing".to_owned(),
        StreamTrouble::Tls => "TLS with its endpoint failed".to_owned(),
        StreamTrouble::Handshake(status) => format!("its endpoint answered {status}, not 101"),
        StreamTrouble::Protocol | StreamTrouble::Refused | StreamTrouble::Media => {
            "its endpoint speaks no WebSocket: see [voice] hearing".to_owned()
        }
    }
}

#[derive(Deserialize)]
struct Said {
    event: String,
    #[serde(default, rename = "type")]
    kind: String,
    text: Option<String>,
    stable: Option<String>,
    unstable: Option<String>,
    confidence: Option<f64>,
    reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_endpoint_says_is_read() {
        let text = |text: &str| text.to_owned();
        for (said, heard) in [
            (r#"{"event":"speech","type":"speaking"}"#, Heard::Speaking),
            (
                r#"{"event":"speech","type":"partial","stable":"a","unstable":"b"}"#,
                Heard::Partial {
                    stable: text("a"),
                    unstable: text("b"),
                },
            ),
            (
                r#"{"event":"speech","type":"partial","text":"b"}"#,
                Heard::Partial {
                    stable: text(""),
                    unstable: text("b"),
                },
            ),
            (
                r#"{"event":"speech","type":"final","text":"yes","confidence":0.8754}"#,
                Heard::Final {
                    text: text("yes"),
                    confidence: 875,
                },
            ),
            (
                r#"{"event":"speech","type":"final","text":"yes","confidence":17}"#,
                Heard::Final {
                    text: text("yes"),
                    confidence: 1_000,
                },
            ),
            (
                r#"{"event":"speech","type":"final"}"#,
                Heard::Final {
                    text: text(""),
                    confidence: 1_000,
                },
            ),
            (
                r#"{"event":"speech","type":"failed","reason":"no model"}"#,
                Heard::Failed(text("no model")),
            ),
        ] {
            assert_eq!(read(said), Ok(Some(heard)), "{said}");
        }
        assert_eq!(read(r#"{"event":"mark"}"#), Ok(None));
        for wrong in [
            "",
            "{}",
            r#"{"event":"speech"}"#,
            r#"{"event":"speech","type":7}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let long = format!(
            r#"{{"event":"speech","type":"final","text":"{}"}}"#,
            "ü".repeat(9_000)
        );
        let Ok(Some(Heard::Final { text, .. })) = read(&long) else {
            unreachable!("it is final")
        };
        assert_eq!(text.chars().count(), LONGEST);
    }
}
