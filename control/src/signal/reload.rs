//! `tandem reload`: what was taken over.

use serde::{Deserialize, Serialize};

/// What came of a reload that was good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// What calls are routed by now, in a few words.
    pub routing: String,
    /// The keys of the file, as `sip.defence`, whose change is in effect.
    pub changed: Vec<String>,
    /// Those whose change takes effect at the next start only, as `sip.listen`.
    pub restart: Vec<String>,
    /// What the operator should know, one line each: what the store has otherwise, and what is odd.
    pub warnings: Vec<String>,
}
