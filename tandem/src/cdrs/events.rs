//! What happened to a call that is over, in words.

use serde_json::Value;

use crate::output::{self, Table};

/// A row for each.
pub(super) fn table(events: &[Value]) -> Table {
    let mut table = Table::new(["AT", "WHAT", "MORE"]);
    for event in events {
        let more = more(&event["kind"], &event["data"]);
        table.row([
            output::member(event, "at"),
            output::member(event, "kind"),
            more,
        ]);
    }
    table
}

/// What there is to tell beyond the kind; a kind that this program does not know is told as it is.
fn more(kind: &Value, data: &Value) -> String {
    let who = output::member(data, "party");
    let is_on = data["on"].as_bool();
    match (kind.as_str().unwrap_or_default(), is_on) {
        ("muted", Some(true)) => format!("{who} was muted"),
        ("muted", Some(false)) => format!("{who} was heard again"),
        ("held", Some(true)) => "put on hold".to_owned(),
        ("held", Some(false)) => "taken off hold".to_owned(),
        ("transfer", _) => {
            let to = output::member(data, "to");
            let outcome = match data["status"].as_u64() {
                Some(status) if status >= 200 => status.to_string(),
                _ => "the call ended before that was known".to_owned(),
            };
            format!("{who} was transferred to {to}: {outcome}")
        }
        ("quality", _) => quality(&data["samples"]),
        _ => data.to_string(),
    }
}

/// How a call sounded, in a line: the samples would fill the screen.
fn quality(samples: &Value) -> String {
    let samples = samples.as_array().map(Vec::as_slice).unwrap_or_default();
    let lowest = |side: &str| {
        let heard = samples
            .iter()
            .filter_map(|sample| sample[side]["mos"].as_f64());
        let lowest = heard.min_by(f64::total_cmp);
        lowest.map_or_else(|| "-".to_owned(), |mos| format!("{mos:.1}"))
    };
    format!(
        "{}, lowest MOS {} from the caller, {} from the callee (all with --json)",
        output::count(samples.len() as u64, "sample"),
        lowest("caller"),
        lowest("callee")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_is_told_in_words() {
        let sample = |caller: Value, callee: f64| {
            json!({
                "time": "2026-01-05T08:30:10.000Z",
                "caller": { "packets": 500, "lost": 0, "jitter_ms": 0.5, "mos": caller },
                "callee": { "packets": 500, "lost": 0, "jitter_ms": 0.5, "mos": callee },
            })
        };
        let mut samples = vec![sample(json!(4.41), 4.12); 40];
        samples.extend([sample(json!(3.92), 4.4), sample(Value::Null, 4.4)]);
        for (kind, data, wanted) in [
            (
                "muted",
                json!({ "party": "caller", "on": true }),
                "caller was muted",
            ),
            (
                "muted",
                json!({ "party": "callee", "on": false }),
                "callee was heard again",
            ),
            ("held", json!({ "on": true }), "put on hold"),
            ("held", json!({ "on": false }), "taken off hold"),
            (
                "transfer",
                json!({ "party": "callee", "to": "sip:carol@example.test", "status": 200 }),
                "callee was transferred to sip:carol@example.test: 200",
            ),
            (
                "transfer",
                json!({ "party": "callee", "to": "sip:carol@example.test", "status": 100 }),
                "callee was transferred to sip:carol@example.test: the call ended before that was known",
            ),
            (
                "quality",
                json!({ "samples": samples }),
                "42 samples, lowest MOS 3.9 from the caller, 4.1 from the callee (all with --json)",
            ),
            (
                "quality",
                json!({}),
                "0 samples, lowest MOS - from the caller, - from the callee (all with --json)",
            ),
            ("sung", json!({ "song": 1 }), r#"{"song":1}"#),
        ] {
            assert_eq!(more(&json!(kind), &data), wanted);
        }
        let at = "2026-01-05T08:30:00.000Z";
        let held = json!({ "at": at, "kind": "held", "data": { "on": true } });
        let printed = table(&[held]).to_string();
        assert!(
            printed.ends_with(&format!("{at}  held  put on hold")),
            "{printed}"
        );
    }
}
