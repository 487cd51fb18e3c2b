//! The parser against `rsip` 0.4: every difference is one that an RFC decides, or the test fails.
//!
//! The messages are those of RFC 4475 and RFC 5118, what is seen in the field, and generated ones.
//! `DIFFERENCES.md` lists what differs on the fixed messages; with `UPDATE=1` it is written anew.

mod cases;
mod explain;
mod generate;

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use bytes::Bytes;
use proptest::prelude::*;
use sip_peers::{Difference, Part, differences};

use explain::EXPLANATIONS;

/// What explains a difference on this message, by its index.
fn explained(raw: &Bytes, difference: &Difference) -> Option<usize> {
    EXPLANATIONS.iter().position(|explanation| {
        explanation.parts.contains(&difference.part) && (explanation.applies)(raw, difference)
    })
}

fn unexplained(name: &str, raw: &Bytes) -> Option<String> {
    let differences = differences(raw);
    let open: Vec<_> = differences
        .iter()
        .filter(|difference| explained(raw, difference).is_none())
        .collect();
    let text = String::from_utf8_lossy(raw);
    (!open.is_empty()).then(|| format!("{name}: {open:#?}\n{text}"))
}

#[test]
fn every_difference_on_the_fixed_messages_is_explained() {
    let wrong: Vec<_> = cases::all()
        .iter()
        .filter_map(|(name, raw)| unexplained(name, raw))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_list_of_differences_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("DIFFERENCES.md");
    let list = list();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &list).expect("written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == list,
        "DIFFERENCES.md is not what the parsers do: look at each, then run this with UPDATE=1\n{list}"
    );
}

/// An explanation that explains nothing would hide what comes next.
#[test]
fn every_explanation_is_needed() {
    let mut used = vec![false; EXPLANATIONS.len()];
    for (_, raw) in cases::all() {
        for difference in differences(&raw) {
            if let Some(index) = explained(&raw, &difference) {
                used[index] = true;
            }
        }
    }
    let idle: Vec<_> = EXPLANATIONS
        .iter()
        .zip(&used)
        .filter(|(_, used)| !**used)
        .map(|(explanation, _)| explanation.what)
        .collect();
    assert!(idle.is_empty(), "{idle:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_difference_on_generated_messages_is_explained(text in generate::message()) {
        let open = unexplained("generated", &Bytes::from(text));
        prop_assert!(open.is_none(), "{}", open.unwrap_or_default());
    }
}

fn list() -> String {
    let mut by_explanation: BTreeMap<usize, BTreeMap<String, Vec<Part>>> = BTreeMap::new();
    let cases = cases::all();
    let mut alike = 0;
    for (name, raw) in &cases {
        let differences = differences(raw);
        alike += usize::from(differences.is_empty());
        for difference in differences {
            let Some(index) = explained(raw, &difference) else {
                continue;
            };
            let messages = by_explanation.entry(index).or_default();
            let parts = messages.entry(name.clone()).or_default();
            parts.push(difference.part);
        }
    }
    let mut text = format!(
        "# Where this parser and rsip 0.4 differ\n\n\
         Of {} messages (RFC 4475, RFC 5118, and what is seen in the field) the two read {alike} alike.\n\
         What differs on the others, what decides it, and on which parts of which messages it shows.\n\
         Written by the differential test; see `tests/differential/main.rs`.\n\n\
         | what | decided by | verdict | messages |\n|---|---|---|---|\n",
        cases.len()
    );
    for (index, messages) in by_explanation {
        let explanation = &EXPLANATIONS[index];
        let messages: Vec<String> = messages
            .iter()
            .map(|(name, parts)| {
                let parts: Vec<_> = parts.iter().map(ToString::to_string).collect();
                format!("{name} ({})", parts.join(", "))
            })
            .collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            explanation.what,
            explanation.section,
            explanation.verdict,
            messages.join("; ")
        );
    }
    text
}
