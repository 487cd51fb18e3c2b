//! What keys and flags mean to each command: what it does not do is refused, by name.
//!
//! Scripts give one text of flags to all commands, as Kamailio's `rtpengine_manage()` does. So what is said of an offer is let
//! pass by the others, as with rtpengine, unless they would have to do something about it.

use crate::{
    Command, Refused, Request, Value,
    flags::{self, CODES, Effect, FILES, LOGS, MIXES, NAMES_OF_FILES, Table, WHOLE},
    keys, options,
};
use Effect::{Nothing, Otherwise, Refuse};

const DIGITS: &str = "mediad looks for no digits that change what is blocked";
const TONES: &str = "mediad puts no tones into the audio";
const EGRESS: &str = "name who sends it";
const LISTENS: &str = "of no effect for who only listens";
const IN_OFFER: &str = "write it in an offer or an answer";

const BLOCK: Table = &[(&["egress", "block-egress", "bidirectional"], Refuse(EGRESS))];
const BLOCK_DTMF: Table = &[
    (&["dtmf-security", "digit", "code"], Nothing),
    (
        &[
            "trigger",
            "trigger-end",
            "end-trigger",
            "trigger-end-time",
            "end-trigger-time",
            "trigger-end-digits",
            "end-trigger-digits",
            "dtmf-security-trigger",
            "dtmf-security-trigger-end",
        ],
        Refuse(DIGITS),
    ),
    (
        &["dtmf-delay"],
        Refuse("mediad holds no keys back for a time"),
    ),
    (&["delay-buffer"], Refuse("mediad delays no media")),
    (&["frequency", "frequencies", "volume"], Refuse(TONES)),
    (
        &["detect-dtmf"],
        Refuse("mediad looks for no tones in the audio"),
    ),
    (&["dtmf-log-dest", "dtmf-log-destination"], Otherwise(LOGS)),
    (&["egress", "block-egress", "bidirectional"], Refuse(EGRESS)),
];
const PLAY_DTMF: Table = &[
    (&["code", "digit", "duration", "pause"], Nothing),
    (
        &["volume"],
        Otherwise("keys are pressed at one volume, -10 dBm0"),
    ),
];
const PLAY_MEDIA: Table = &[
    (
        &[
            "file",
            "repeat-times",
            "repeat-duration",
            "start-pos",
            "block-egress",
        ],
        Nothing,
    ),
    (
        &["blob", "db-id"],
        Refuse("mediad plays files; write 'file'"),
    ),
];
const RECORD: Table = &[
    (&["recording-method", "record-call", "pause"], Nothing),
    (NAMES_OF_FILES, Otherwise(FILES)),
    (&["exclude-recording"], Refuse(WHOLE)),
    (&["discard-recording"], Refuse("remove the file")),
    (&["recording-announcement"], Refuse("use 'play media'")),
    (&["recording-vsc"], Otherwise(CODES)),
];
const DELETE: Table = &[(&["discard-recording"], Otherwise("remove the file"))];
const LIST: Table = &[(&["limit"], Nothing)];
const SUBSCRIBE: Table = &[
    (
        &["drop-traffic", "media-echo", "blackhole", "sinkhole"],
        Refuse(IN_OFFER),
    ),
    (&["record-call"], Refuse("use 'start recording'")),
    (&["mix", "mixed"], Refuse(MIXES)),
    (
        &[
            "tos",
            "delete-delay",
            "generate-rtcp",
            "endpoint-learning",
            "asymmetric",
            "strict-source",
            "media-handover",
            "nat-wait",
            "pierce-nat",
            "loop-protect",
        ],
        Otherwise(LISTENS),
    ),
    // Read by the answer itself.
    (&["allow-transcoding"], Nothing),
];

/// What is special of a command: for those of offers, what they do otherwise than offers do.
pub(crate) const fn table(command: Command) -> Table {
    match command {
        Command::BlockDtmf | Command::UnblockDtmf => BLOCK_DTMF,
        Command::BlockMedia
        | Command::UnblockMedia
        | Command::SilenceMedia
        | Command::UnsilenceMedia => BLOCK,
        Command::PlayDtmf => PLAY_DTMF,
        Command::PlayMedia | Command::StopMedia => PLAY_MEDIA,
        Command::StartRecording | Command::StopRecording | Command::PauseRecording => RECORD,
        Command::Delete => DELETE,
        Command::List => LIST,
        Command::SubscribeRequest | Command::SubscribeAnswer => SUBSCRIBE,
        _ => &[],
    }
}

/// Looks through what a request says beside what its command is about; warnings of what is of no effect. Offers, and what is
/// like them, are [`options::read`]'s.
///
/// # Errors
/// All that cannot be done, at once.
pub fn check(request: &Request) -> Result<Vec<String>, Refused> {
    let mut look = Look {
        command: request.command,
        refused: Vec::new(),
        warnings: Vec::new(),
    };
    for (key, value) in request.fields() {
        if key != "flags" {
            look.at(key, Some(value));
        }
    }
    for flag in request.flags() {
        // What has a value was read as a key.
        if !flag.contains(&b'=') {
            look.at(&keys::plain(flag), None);
        }
    }
    match look.refused.is_empty() {
        true => Ok(look.warnings),
        false => Err(Refused(look.refused)),
    }
}

struct Look {
    command: Command,
    refused: Vec<String>,
    warnings: Vec<String>,
}

impl Look {
    fn at(&mut self, name: &str, value: Option<&Value>) {
        if value.is_some_and(keys::is_off) {
            return;
        }
        match flags::find(table(self.command), name) {
            Some(Refuse(why)) => self.refused.push(format!("{name} ({why})")),
            Some(Otherwise(why)) => self.warn(format!("{name}: {why}")),
            Some(_) => {}
            None if options::knows(name) => {}
            None if Command::ALL
                .iter()
                .any(|other| flags::find(table(*other), name).is_some()) =>
            {
                self.warn(format!("{name}: of no effect in '{}'", self.command.name()));
            }
            None => {
                let name: String = name.chars().take(60).collect();
                self.warn(format!("unknown option ignored: {name}"));
            }
        }
    }

    fn warn(&mut self, warning: String) {
        if self.warnings.len() < options::MAX_WARNINGS && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Encoding;

    fn said(command: &str, more: &str) -> Result<Vec<String>, String> {
        let body = format!("{{\"command\":\"{command}\",\"call-id\":\"x\",{more}}}");
        let request = Request::parse(Encoding::Json, body.as_bytes()).unwrap();
        check(&request).map_err(|refused| refused.to_string())
    }

    #[test]
    fn what_a_command_does_not_do_is_refused_by_name_and_all_at_once() {
        for (command, more, named) in [
            (
                "block DTMF",
                r#""trigger":"*1","volume":5"#,
                "trigger (mediad looks for no digits that change what is blocked); volume (",
            ),
            ("block DTMF", r#""flags":["detect DTMF"]"#, "detect-dtmf"),
            (
                "unblock DTMF",
                r#""DTMF-security-trigger-end":"drop""#,
                "dtmf-security-trigger-end",
            ),
            ("block media", r#""flags":["egress"]"#, "egress"),
            ("play media", r#""blob":"RIFF""#, "blob"),
            ("play media", r#""db-id":7"#, "db-id"),
            (
                "stop recording",
                r#""flags":["discard-recording"]"#,
                "discard-recording",
            ),
            (
                "start recording",
                r#""flags":["exclude recording"]"#,
                "exclude-recording",
            ),
        ] {
            let error = said(command, more).unwrap_err();
            assert!(
                error.starts_with("not supported by mediad: ") && error.contains(named),
                "{error}"
            );
        }
    }

    #[test]
    fn what_offers_know_passes_and_what_nobody_knows_is_warned_of() {
        // One text of flags for all commands.
        let script = r#""flags":["trust-address","replace-origin","codec-strip-G729","rtcp-mux-demux","sdes-no"],
            "replace":["origin"],"direction":["a","b"],"ICE":"force","received-from":["IP4","192.0.2.1"]"#;
        for command in Command::ALL {
            assert_eq!(said(command.name(), script), Ok(Vec::new()), "{command:?}");
        }
        assert_eq!(
            said("block DTMF", r#""delay-buffer":0,"trigger":"no""#),
            Ok(Vec::new())
        );
        assert_eq!(
            said("query", r#""limit":5,"nonsense":1,"flags":["whatever"]"#),
            Ok(vec![
                "limit: of no effect in 'query'".to_owned(),
                "unknown option ignored: nonsense".to_owned(),
                "unknown option ignored: whatever".to_owned(),
            ])
        );
        let loud = said("play DTMF", r#""code":"1","volume":8"#).unwrap();
        assert!(loud[0].starts_with("volume: "), "{loud:?}");
        assert_eq!(
            said("start recording", r#""output-destination":"/x""#).unwrap(),
            [format!("output-destination: {FILES}")]
        );
    }

    #[test]
    fn what_stands_in_a_text_of_flags_is_a_key() {
        let body = br#"{"command":"play media","call-id":"x","rtpp-flags":"from-tag=a file=/x.wav  repeat-times=3 all","flags":["start-pos=9"]}"#;
        let request = Request::parse(Encoding::Json, body).unwrap();
        assert_eq!(check(&request), Ok(Vec::new()));
        assert_eq!(request.text("file"), Some(b"/x.wav".as_slice()));
        assert_eq!(request.number("repeat-times", 9), Ok(Some(3)));
        assert_eq!(request.number("start-pos", 9), Ok(Some(9)));
        assert!(request.has_flag("all") && !request.has_flag("pause"));
    }
}
