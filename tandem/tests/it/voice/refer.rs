//! `<Refer>` on a whole node, with SIPp as the caller.

use std::{collections::HashMap, time::Duration};

use loadtest::{
    process::Interrupt,
    sipp::{Agent, Scenario},
};

use super::{App, node, params};
use crate::common::{free_port, free_ports};

#[test]
fn a_caller_is_sent_elsewhere_and_tells_how_that_went() {
    let app = App::start(|_| {
        let document =
            "<Response><Refer action=\"/done\"><Sip>tel:+15550177</Sip></Refer></Response>";
        HashMap::from([
            ("/voice", ("text/xml", document.as_bytes().to_vec())),
            ("/done", ("text/xml", b"<Response/>".to_vec())),
        ])
    });
    let node = node(&app.url("/voice"));
    let dir = tempfile::tempdir().unwrap();
    let caller = Agent {
        number: "200".to_owned(),
        media_port: free_ports(8),
        target: Some(([127, 0, 0, 1], node.sip).into()),
        ..Agent::new(
            Scenario::CallerReferred,
            ([127, 0, 0, 1], free_port()).into(),
        )
    };
    let running = caller.start(None, dir.path()).unwrap();
    let patience = Duration::from_secs(20);
    let outcome = running.finish(patience, &Interrupt::default()).unwrap();
    assert!(outcome.all_well(1), "{outcome:?}");
    node.wait_until(|| app.asked("/done").len() == 1);
    let told = params(&app.asked("/done")[0].body);
    for (name, value) in [
        ("ReferCallStatus", "in-progress"),
        ("ReferSipResponseCode", "202"),
        ("NotifySipResponseCode", "200"),
    ] {
        assert_eq!(told.get(name), Some(value), "{name}");
    }
}
