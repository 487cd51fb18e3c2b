//! `tandem trunks` alone: how the carriers and switches are.

use control::signal::{RegistrationInfo, Request, Response, TrunkHostInfo, TrunkInfo};
use serde::Serialize;

use super::{Listing, Node, unexpected};
use crate::{
    exit::{Exit, Failure},
    output::{self, Table},
};

/// Tells of each trunk's hosts, our registration with it, and how calls to it fare.
pub(crate) async fn trunks(args: Listing) -> Result<Exit, Failure> {
    let node = Node::connect(&args.node).await?;
    let trunks = match node.ask(Request::Trunks).await? {
        Response::Trunks(trunks) => trunks,
        other => return Err(unexpected(&other)),
    };
    let views: Vec<_> = trunks.iter().map(View::from).collect();
    output::list(&views, args.json, || table(&trunks), "there is no trunk")?;
    Ok(Exit::Done)
}

/// A line for each host; what is the trunk's stands in its first.
fn table(trunks: &[TrunkInfo]) -> Table {
    let heads = [
        "TRUNK",
        "HOST",
        "STATE",
        "REGISTERED",
        "CALLS",
        "ASR",
        "LAST ERROR",
    ];
    let mut table = Table::new(heads);
    for trunk in trunks {
        let registered = trunk
            .registration
            .as_ref()
            .map_or_else(|| "-".to_owned(), registered);
        let failure = trunk
            .registration
            .as_ref()
            .and_then(|known| known.error.clone());
        let own = [
            trunk.name.clone(),
            registered,
            trunk.calls.to_string(),
            asr(trunk),
        ];
        let rows = trunk.hosts.iter().map(Some);
        // A trunk that only calls us has no host.
        let rows = rows.chain(trunk.hosts.is_empty().then_some(None));
        for (index, host) in rows.enumerate() {
            let [name, registered, calls, asr] = match index {
                0 => own.clone(),
                _ => Default::default(),
            };
            let failure = failure.clone().filter(|_| index == 0);
            let error =
                failure.or_else(|| host?.error.clone().filter(|_| !host.is_some_and(|h| h.up)));
            table.row([
                name,
                host.map_or_else(|| "-".to_owned(), |host| host.host.clone()),
                host.map_or("-", |host| state(trunk, host)).to_owned(),
                registered,
                calls,
                asr,
                error.unwrap_or_else(|| "-".to_owned()),
            ]);
        }
    }
    table
}

const fn state(trunk: &TrunkInfo, host: &TrunkHostInfo) -> &'static str {
    match (trunk.drained, host.up) {
        (true, _) => "drained",
        (false, true) => "up",
        (false, false) => "down",
    }
}

fn registered(registration: &RegistrationInfo) -> String {
    match registration.expires_s {
        Some(seconds) => format!("yes, {}", output::age(seconds)),
        None => "no".to_owned(),
    }
}

fn asr(trunk: &TrunkInfo) -> String {
    match trunk.offered {
        0 => "-".to_owned(),
        offered => format!("{} %", trunk.answered.saturating_mul(100) / offered),
    }
}

/// A trunk as scripts read it; names stay.
#[derive(Serialize)]
struct View<'a> {
    name: &'a str,
    hosts: Vec<HostView<'a>>,
    calls: u64,
    offered: u64,
    answered: u64,
    drained: bool,
    registration: Option<RegistrationView<'a>>,
}

#[derive(Serialize)]
struct HostView<'a> {
    host: &'a str,
    up: bool,
    probed: bool,
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct RegistrationView<'a> {
    registered: bool,
    expires_s: Option<u64>,
    error: Option<&'a str>,
}

impl<'a> From<&'a TrunkInfo> for View<'a> {
    fn from(trunk: &'a TrunkInfo) -> Self {
        let host = |host: &'a TrunkHostInfo| HostView {
            host: &host.host,
            up: host.up,
            probed: host.probed,
            error: host.error.as_deref(),
        };
        let registration = |known: &'a RegistrationInfo| RegistrationView {
            registered: known.expires_s.is_some(),
            expires_s: known.expires_s,
            error: known.error.as_deref(),
        };
        Self {
            name: &trunk.name,
            hosts: trunk.hosts.iter().map(host).collect(),
            calls: trunk.calls,
            offered: trunk.offered,
            answered: trunk.answered,
            drained: trunk.drained,
            registration: trunk.registration.as_ref().map(registration),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carrier() -> TrunkInfo {
        let host = |host: &str, error: Option<&str>| TrunkHostInfo {
            host: host.into(),
            up: error.is_none(),
            probed: true,
            error: error.map(str::to_owned),
        };
        TrunkInfo {
            name: "carrier-a".into(),
            hosts: vec![
                host("192.0.2.1:5060", None),
                host("192.0.2.2", Some("no answer in time")),
            ],
            calls: 3,
            offered: 8,
            answered: 5,
            drained: false,
            registration: Some(RegistrationInfo {
                expires_s: Some(200),
                error: None,
            }),
        }
    }

    #[test]
    fn a_trunk_has_a_line_for_each_host() {
        let pbx = TrunkInfo {
            name: "pbx".into(),
            hosts: Vec::new(),
            offered: 0,
            registration: None,
            ..carrier()
        };
        assert_eq!(
            table(&[carrier(), pbx]).to_string(),
            "TRUNK      HOST            STATE  REGISTERED       CALLS  ASR   LAST ERROR\n\
             carrier-a  192.0.2.1:5060  up     yes, 3 min 20 s  3      62 %  -\n           \
             192.0.2.2       down                                 no answer in time\n\
             pbx        -               -      -                3      -     -"
        );
    }

    #[test]
    fn scripts_see_the_registration() {
        let mut trunk = carrier();
        trunk.registration = Some(RegistrationInfo {
            expires_s: None,
            error: Some("403 Forbidden".into()),
        });
        let json = serde_json::to_value(View::from(&trunk)).unwrap();
        assert_eq!(json["registration"]["registered"], false);
        assert_eq!(json["registration"]["error"], "403 Forbidden");
        assert_eq!(json["hosts"][1]["up"], false);
        assert!(table(&[trunk]).to_string().contains("403 Forbidden"));
    }
}
