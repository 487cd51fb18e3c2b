//! Tells whoever listens of trunks that go down or come back.

use std::{collections::HashMap, time::Duration};

use control::{
    channel::Events,
    signal::{Event, Signal, TrunkInfo},
};
use tokio::time::{MissedTickBehavior, interval};

use super::Trunks;

/// How often it is looked whether a trunk is in another state: a host may go down by a call that fails, by a
/// probe, or by time alone.
const TICK: Duration = Duration::from_secs(1);

/// What an event tells of: each host, and whether it is up, whether we are registered, and whether it is
/// drained.
#[derive(Debug, PartialEq, Eq)]
struct State {
    hosts: Vec<(String, bool)>,
    registered: Option<bool>,
    drained: bool,
}

impl State {
    fn of(trunk: &TrunkInfo) -> Self {
        let hosts = trunk.hosts.iter();
        let registration = trunk.registration.as_ref();
        Self {
            hosts: hosts.map(|host| (host.host.clone(), host.up)).collect(),
            registered: registration.map(|registration| registration.expires_s.is_some()),
            drained: trunk.drained,
        }
    }
}

/// Runs for ever.
pub(crate) async fn tell(trunks: Trunks, events: Events<Signal>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = None;
    loop {
        tick.tick().await;
        if !events.has_listeners() {
            known = None;
            continue;
        }
        // Events leave the calls out, which change all the time.
        let trunks = trunks.list(&HashMap::new());
        let now = trunks
            .iter()
            .map(|trunk| (trunk.name.clone(), State::of(trunk)));
        let now: HashMap<_, _> = now.collect();
        for trunk in changed(known.as_ref(), &now, trunks) {
            events.push(Event::Trunk(trunk));
        }
        known = Some(now);
    }
}

/// Those that were in another state before, or were not there. Who began to listen just now knows how things
/// are.
fn changed<'a>(
    before: Option<&'a HashMap<String, State>>,
    now: &'a HashMap<String, State>,
    trunks: Vec<TrunkInfo>,
) -> impl Iterator<Item = TrunkInfo> + use<'a> {
    trunks.into_iter().filter(move |trunk| {
        before.is_some_and(|before| before.get(&trunk.name) != now.get(&trunk.name))
    })
}

#[cfg(test)]
mod tests {
    use control::signal::{RegistrationInfo, TrunkHostInfo};

    use super::*;

    fn trunk(name: &str, up: bool, expires_s: Option<u64>) -> TrunkInfo {
        TrunkInfo {
            name: name.to_owned(),
            hosts: vec![TrunkHostInfo {
                host: "192.0.2.1:5060".to_owned(),
                up,
                probed: true,
                error: None,
            }],
            calls: 0,
            offered: 0,
            answered: 0,
            drained: false,
            registration: Some(RegistrationInfo {
                expires_s,
                error: None,
            }),
        }
    }

    fn states(trunks: &[TrunkInfo]) -> HashMap<String, State> {
        let of = |trunk: &TrunkInfo| (trunk.name.clone(), State::of(trunk));
        trunks.iter().map(of).collect()
    }

    fn told(before: Option<&[TrunkInfo]>, now: &[TrunkInfo]) -> Vec<String> {
        let (before, states) = (before.map(states), states(now));
        let changed = changed(before.as_ref(), &states, now.to_vec());
        changed.map(|trunk| trunk.name).collect()
    }

    #[test]
    fn only_what_is_in_another_state_is_told() {
        let before = [trunk("a", true, Some(60)), trunk("b", true, Some(60))];
        let refreshed = [trunk("a", true, Some(3600)), trunk("b", true, Some(59))];
        assert_eq!(told(Some(&before), &refreshed), [""; 0]);
        let down = [trunk("a", false, Some(60)), trunk("b", true, None)];
        assert_eq!(told(Some(&before), &down), ["a", "b"]);
        assert_eq!(told(Some(&before[..1]), &before), ["b"]);
        assert_eq!(told(None, &down), [""; 0]);
    }
}
