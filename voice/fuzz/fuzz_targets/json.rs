//! Any bytes as a document in JSON: it is refused, or read within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use voice::twiml::{Document, MAX_DOCUMENT};

fuzz_target!(|data: &[u8]| {
    match Document::parse_json(data) {
        Ok(document) => {
            assert!(data.len() <= MAX_DOCUMENT && document.warnings.len() <= 21);
            assert!(document.verbs.len() <= data.len());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
