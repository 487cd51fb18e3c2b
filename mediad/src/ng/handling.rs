//! How the legs are treated beyond where their packets go, as far as an offer or an answer says.

use control::media::Handling;
use ng::{Options, options::Learning};

/// How both legs are treated from now on; `None` where the options say nothing of it.
pub(super) fn of(options: &Options) -> Option<Handling> {
    let tos = options.tos?;
    Some(Handling { tos: Some(tos) })
}

/// What of the options the engine has no ear for yet: what would be unsafe or plainly wrong to leave out is an error,
/// the rest a warning.
pub(super) fn check(options: &mut Options) -> Result<(), String> {
    let sources = options.sources;
    let mut missing = Vec::new();
    if sources.strict {
        missing.push("strict-source");
    }
    if sources.handover {
        missing.push("media-handover");
    }
    if matches!(sources.learning, Some(Learning::Off)) {
        missing.push("asymmetric, endpoint-learning=off");
    }
    if !missing.is_empty() {
        return Err(format!(
            "not supported by mediad yet: {}",
            missing.join("; ")
        ));
    }
    if matches!(
        sources.learning,
        Some(Learning::Immediate | Learning::Delayed)
    ) {
        options.warn("endpoint-learning: heuristic in its place".to_owned());
    }
    if options.interfaces.iter().flatten().next().is_some() {
        options.warn("direction: mediad has one interface, and uses that".to_owned());
    }
    Ok(())
}
