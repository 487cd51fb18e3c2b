//! From a call to a plan: numbers first, then users, then routes.

use std::sync::Arc;

use store::Cause;

use super::{Carrier, Decision, Destination, Directory, Plan, Query, Refusal, Route, Stage, When};

impl Directory {
    /// Where a call goes.
    pub(crate) fn decide(&self, query: &Query<'_>) -> Decision {
        if let Some(user) = &query.user {
            let destination = Destination::User(user.clone());
            let stage = Stage {
                when: When::First,
                destination,
                ring_timeout: super::USER_RING_TIMEOUT,
                relay: true,
            };
            return Decision::Plan(plan(query.called, None, stage));
        }
        match self.route_of(query.called) {
            Some(route) => {
                let stage = by_route(query.called, route);
                let prefix = Some(route.prefix.clone());
                Decision::Plan(plan(query.called, prefix, stage))
            }
            None => Decision::Refuse(Refusal {
                status: 404,
                reason: "no route".to_owned(),
                cause: Cause::NoRoute,
            }),
        }
    }
}

fn by_route(called: &str, route: &Route) -> Stage {
    let carriers = route.trunks.iter().map(|trunk| Carrier {
        trunk: trunk.clone(),
        number: called.to_owned(),
        failover: Arc::default(),
    });
    Stage {
        when: When::First,
        destination: Destination::Carriers(carriers.collect()),
        ring_timeout: route.ring_timeout,
        relay: route.relay,
    }
}

fn plan(called: &str, route: Option<String>, stage: Stage) -> Plan {
    Plan {
        stages: vec![stage],
        limits: Vec::new(),
        longest: None,
        emergency: false,
        called: called.to_owned(),
        route,
    }
}
