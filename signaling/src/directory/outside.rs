//! Places beyond the node and its trunks that documents may call: those of `[voice] sip_domains`.

use control::config::SipDomain;
use sip::uri::Uri;

use super::Directory;

impl Directory {
    /// Whether a document may call this URI, or in words what keeps it from that. Who else calls stays within the node's
    /// own places: it would be an open relay otherwise.
    pub(super) fn lets_out(&self, uri: &str) -> Result<(), String> {
        let Ok(uri) = Uri::parse(uri) else {
            return Err("it is no URI".to_owned());
        };
        // It would go there, whatever the host is.
        if uri.params().has("maddr") {
            return Err("a document may not say by maddr where a call goes".to_owned());
        }
        let host = uri.host().map(|host| host.to_string()).unwrap_or_default();
        // What leads there are routes, with their limits, numbers and prices.
        if self.is_trunk_at(&host) {
            return Err(format!(
                "'{host}' is a trunk's: [voice] sip_domains lets nobody go round its routes and limits"
            ));
        }
        let has = |domain: &SipDomain| domain.has(&host);
        match self.outside.iter().any(has) {
            true => Ok(()),
            false => Err(format!(
                "'{host}' is none of [sip] domains, and no address of this node; for documents to call there, write it \
                 in [voice] sip_domains"
            )),
        }
    }

    /// Whether a host is a trunk's, with or without the dot at its end.
    fn is_trunk_at(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let uri = format!("sip:{host}");
        Uri::parse(&uri).is_ok_and(|uri| self.has_trunk_at(&uri))
    }
}
