//! Those who hear a party beside the other one.

use control::Fault;
use control::FaultCode;
use control::media::{
    Family, Handling, Leg as LegRequest, Local, MAX_MONITOR_TYPES, MAX_MONITORS, Monitor, Unmonitor,
};

use super::Shard;
use super::commands::not_found;
use crate::io::PacketIo;
use crate::session::{Listener, Session};

impl<I: PacketIo> Shard<I> {
    /// Lets somebody hear a party, or says where.
    pub(super) fn monitor(&mut self, monitor: Monitor) -> Result<Local, Fault> {
        let Monitor {
            id,
            of,
            number,
            family,
            interface,
            to,
            types,
        } = monitor;
        let index = self.find(id)?;
        let session = self.relay.session(index).ok_or_else(|| not_found(id))?;
        let invalid = |message| Err(Fault::new(FaultCode::Invalid, message));
        if types.len() > MAX_MONITOR_TYPES {
            return invalid(format!(
                "session {id}: who hears it may number {MAX_MONITOR_TYPES} formats otherwise, not {}",
                types.len()
            ));
        }
        for address in to.iter().flatten() {
            if session.owns(*address) {
                return invalid(format!(
                    "session {id}: {address} is the session's own port; packets would go in a circle"
                ));
            }
            if Family::of(address) != family {
                return invalid(format!(
                    "session {id}: {address} is not of {family:?}, as what is heard was offered"
                ));
            }
        }
        let session = self.relay.session_mut(index).ok_or_else(|| not_found(id))?;
        let leg = session.split(of).0;
        let is_full = leg.monitors.len() >= MAX_MONITORS;
        let known = leg.monitors.iter_mut().find(|one| one.number == number);
        let local = match known {
            Some(listener) => {
                listener.to = to;
                listener.types = types;
                listener.leg.shown()
            }
            None if is_full => {
                let why = format!("{MAX_MONITORS} hear this party already");
                return Err(Fault::new(FaultCode::Conflict, why));
            }
            None => {
                let leg = self.open_leg(&LegRequest {
                    family,
                    port: None,
                    remote: None,
                    muted: false,
                    handling: Handling {
                        interface,
                        ..Handling::default()
                    },
                })?;
                self.relay.copies.prepare();
                let local = leg.shown();
                let session = self.relay.session_mut(index).ok_or_else(|| not_found(id))?;
                let listener = Listener {
                    number,
                    leg,
                    to,
                    types,
                };
                session.split(of).0.monitors.push(listener);
                self.publish_load();
                local
            }
        };
        self.follow(index);
        Ok(local)
    }

    /// Lets somebody hear a party no longer.
    pub(super) fn unmonitor(&mut self, monitor: Unmonitor) {
        let Unmonitor { id, of, number } = monitor;
        let Some(&index) = self.by_id.get(&id) else {
            return;
        };
        let Some(session) = self.relay.session_mut(index) else {
            return;
        };
        let monitors = &mut session.split(of).0.monitors;
        let gone: Vec<_> = monitors
            .extract_if(.., |listener| listener.number == number)
            .collect();
        for listener in &gone {
            self.close_leg(&listener.leg);
        }
        self.publish_load();
        self.follow(index);
    }

    /// The program takes or leaves what there is to copy.
    fn follow(&mut self, index: u32) {
        if self
            .relay
            .session(index)
            .is_some_and(|session| !session.unclaimed)
        {
            self.program(index);
        }
    }

    /// Closes the ports of all who hear a session's parties.
    pub(super) fn close_monitors(&mut self, session: &Session) {
        for listener in session.legs.iter().flat_map(|leg| &leg.monitors) {
            self.close_leg(&listener.leg);
        }
    }

    /// Sends what this turn has copied.
    pub(super) fn send_copies(&mut self) {
        let io = &mut self.io;
        self.relay
            .copies
            .flush(|via, to, packet| io.send(via, to, packet));
    }
}
